#!/usr/bin/env bash
# Resolves pyproject.toml afresh in a clean environment: base, rt and dev into requirements.lock; what the other
# extras add to them into requirements-extras.lock.
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

"$folder/venv/bin/python" - >"$folder/wanted-extras" <<'END'
import tomllib

with open("pyproject.toml", "rb") as file:
    extras = tomllib.load(file)["project"]["optional-dependencies"]
print(*extras["sumo"], *extras["threegpp"], *extras["maps"], *extras["dask"], sep="\n")
END
"$folder/venv/bin/pip" install -q --constraint requirements.lock -r "$folder/wanted-extras"
"$folder/venv/bin/pip" check
{
    sed '/^[^#]/,$d' requirements-extras.lock
    "$folder/venv/bin/pip" freeze --all --exclude pip | sed 's/+[a-z0-9.]*$//' | grep -vxFf requirements.lock
} >"$folder/lock-extras"
cp "$folder/lock-extras" requirements-extras.lock
