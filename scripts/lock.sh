#!/usr/bin/env bash
# Resolves pyproject.toml afresh (base, rt, dev) in a clean environment and writes requirements.lock.
# Run it with Debian 12's Python (PYTHON=/usr/bin/python3): some releases refuse 3.11.2 and accept later ones.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

torch=$(grep '^torch==' requirements.lock)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" - >"$folder/wanted" <<'END'
import tomllib

with open("pyproject.toml", "rb") as file:
    project = tomllib.load(file)["project"]
extras = project["optional-dependencies"]
print(*project["dependencies"], *extras["rt"], *extras["dev"], sep="\n")
END
"$folder/venv/bin/pip" install -q "$torch"
"$folder/venv/bin/pip" install -q -r "$folder/wanted"
"$folder/venv/bin/pip" check
{
    sed '/^[^#]/,$d' requirements.lock
    # a local version such as +cpu names one registry's build, not the release
    "$folder/venv/bin/pip" freeze --all --exclude pip | sed 's/+[a-z0-9.]*$//'
} >"$folder/lock"
cp "$folder/lock" requirements.lock
