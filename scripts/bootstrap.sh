#!/usr/bin/env bash
# Makes .venv with the locked dependencies and sees to it that a usable LLVM is there. Safe to run again:
# a second run that finds nothing changed ends at once. Needs only python3, a package registry and (for LLVM) apt.
# With --extras also the optional parts that tests use: SUMO, Sionna PHY, map download, terrain, Dask (about 1 GB).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

venv=.venv
# What Dr.Jit, which the ray tracer computes with, loads at run time; a minimal Debian has neither.
llvm_packages=(libllvm19 libatomic1)
torch_cpu_builds=${TORCH_CPU_BUILDS:-https://download.pytorch.org/whl/cpu}

say() { printf '[setup] %s\n' "$*"; }
die() { printf '[setup] error: %s\n' "$*" >&2; exit 2; }
is_root() { [ "$(id -u)" -eq 0 ]; }
has() { command -v "$1" >/dev/null 2>&1; }

# What an environment was made from: if any of it changes, the environment is brought up to date.
fingerprint() { { pwd; cat requirements.lock pyproject.toml scripts/bootstrap.sh; } | sha256sum | cut -d' ' -f1; }

find_python() {
    local candidate
    for candidate in "${PYTHON:-}" python3.11 python3 python; do
        if [ -n "$candidate" ] && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    die "no Python 3.11 or newer found; install one (Debian 12: apt-get install python3 python3-venv) or set PYTHON=/path/to/python3"
}

install_as_root() { # package...
    apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$@"
}

# Unpack Debian packages, with those dependencies that this machine lacks, below a folder; needs no privileges.
unpack_as_user() { # folder package...
    local folder=$1 state missing
    shift
    state=$(mktemp -d)
    mkdir -p "$state/lists/partial" "$state/cache/archives/partial" "$folder"
    local apt=(apt-get -q -o "Dir::State::lists=$state/lists" -o "Dir::Cache=$state/cache"
        -o Dir::State::status=/var/lib/dpkg/status -o Debug::NoLocking=1)
    "${apt[@]}" update || say "apt-get update did not reach every source; trying with what it got"
    missing=$("${apt[@]}" --simulate --no-install-recommends install "$@" | awk '$1 == "Inst" { print $2 }')
    # shellcheck disable=SC2086  # one word per package
    if [ -n "$missing" ] && (cd "$state" && "${apt[@]}" download $missing); then
        local package
        for package in "$state"/*.deb; do dpkg -x "$package" "$folder"; done
        rm -rf "$state"
        return 0
    fi
    rm -rf "$state"
    return 1
}

make_venv() {
    # A moved checkout's scripts still name their old place, and an interrupted creation has no pip: start over.
    if "$venv/bin/python" -m pip --version >/dev/null 2>&1 && grep -qF "$PWD/$venv" "$venv/bin/activate"; then
        return
    fi
    local python
    python=$(find_python)
    say "creating $venv with $("$python" --version)"
    if "$python" -c 'import ensurepip' 2>/dev/null; then
        "$python" -m venv --clear "$venv" || die "could not create $PWD/$venv; is there room, and may you write here?"
    elif has apt-get && is_root; then
        say "installing python3-venv, which Debian ships apart from python3"
        install_as_root python3-venv >/dev/null || die "apt-get could not install python3-venv; install it and run again"
        "$python" -m venv --clear "$venv" || die "could not create $PWD/$venv"
    elif has apt-get && has dpkg; then
        venv_without_ensurepip "$python" || die "this Python cannot create virtual environments; ask for: apt-get install python3-venv"
    else
        die "this Python cannot create virtual environments: it lacks the module ensurepip; install it or set PYTHON"
    fi
}

# Debian keeps pip's wheel in a package of its own; a wheel can be run from where it lies, here to install itself.
venv_without_ensurepip() { # python
    local unpacked wheel
    say "this Python has no ensurepip; fetching pip from Debian's python3-pip-whl"
    unpacked=$(mktemp -d)
    unpack_as_user "$unpacked" python3-pip-whl >/dev/null && wheel=$(ls "$unpacked"/usr/share/python-wheels/pip-*.whl) &&
        "$1" -m venv --clear --without-pip "$venv" && "$venv/bin/python" "$wheel/pip" install -q --no-index "$wheel"
    local result=$?
    rm -rf "$unpacked"
    return $result
}

# torch goes first and alone: asked for together with others, pip may pick a build for other hardware. PyPI serves the
# one with CUDA, some 6 GB with all it needs, which a machine without an NVIDIA GPU has no use for.
install_torch() {
    local pip=("$venv/bin/python" -m pip --disable-pip-version-check install -q) torch
    torch=$(grep '^torch==' requirements.lock)
    if has nvidia-smi && nvidia-smi -L 2>/dev/null | grep -q '^GPU'; then
        say "installing $torch as the package registry serves it: this machine has an NVIDIA GPU"
        "${pip[@]}" "$torch" || die "pip could not install torch; see its message above"
    elif "${pip[@]}" --no-deps --retries 0 --timeout 15 --index-url "$torch_cpu_builds" "$torch" 2>/dev/null; then
        say "no NVIDIA GPU found here: took the CPU build of $torch"
    else
        say "no NVIDIA GPU found here, and no CPU build of $torch at $torch_cpu_builds (TORCH_CPU_BUILDS names another"
        say "index); installing it as the package registry serves it, which may bring some 6 GB of CUDA along"
        "${pip[@]}" "$torch" || die "pip could not install torch; see its message above"
    fi
    say "torch $("$venv/bin/python" -c 'from importlib.metadata import version; print(version("torch"))')"
}

install_packages() {
    local pip=("$venv/bin/python" -m pip --disable-pip-version-check install -q)
    install_torch
    say "installing $(grep -c == requirements.lock) locked packages; this takes a minute or two"
    "${pip[@]}" -r requirements.lock || die "pip could not install requirements.lock; see its message above"
    "${pip[@]}" --no-deps --no-build-isolation --editable . || die "pip could not install channelfm itself; see its message above"
    fingerprint >"$venv/.fingerprint"
}

install_extras() {
    local mark="$venv/.fingerprint-extras"
    if [ "$(cat "$mark" 2>/dev/null)" = "$(sha256sum requirements-extras.lock | cut -d' ' -f1)" ]; then return; fi
    say "installing $(grep -c == requirements-extras.lock) packages of the optional parts"
    "$venv/bin/python" -m pip --disable-pip-version-check install -q -r requirements-extras.lock ||
        die "pip could not install requirements-extras.lock; see its message above"
    sha256sum requirements-extras.lock | cut -d' ' -f1 >"$mark"
}

# Where the library that Dr.Jit can use lies, as `python -m channelfm.tracing.llvm` last said: "PATH (LLVM VERSION)".
known_llvm() { sed -n '1s/ (LLVM .*)$//p' "$venv/.llvm" 2>/dev/null; }
probe_llvm() { "$venv/bin/python" -m channelfm.tracing.llvm >"$venv/.llvm" 2>"$venv/.llvm-problem"; }

ensure_llvm() {
    if [ -e "$(known_llvm)" ]; then return; fi
    if probe_llvm; then return; fi
    if has apt-get && is_root; then
        say "no usable LLVM found; installing Debian's ${llvm_packages[*]}"
        install_as_root "${llvm_packages[@]}" >/dev/null || say "apt-get could not install them"
    elif has apt-get && has dpkg; then
        say "no usable LLVM found; unpacking Debian's ${llvm_packages[*]} below $venv/llvm"
        unpack_as_user "$PWD/$venv/llvm" "${llvm_packages[@]}" >/dev/null || say "apt-get could not download them"
    fi
    if probe_llvm; then
        say "LLVM: $(known_llvm)"
        return
    fi
    rm -f "$venv/.llvm"
    cat >&2 <<END
[setup] ======================================================================
[setup] WARNING: no usable LLVM, so the ray tracer (sionna-rt) cannot run.
[setup] $(tail -n 1 "$venv/.llvm-problem")
[setup] Channels will come from the NumPy image method instead: line of sight
[setup] and specular reflections only, and slower. Install LLVM 17 or newer
[setup] (Debian: apt-get install ${llvm_packages[*]}), then 'make setup' again.
[setup] ======================================================================
END
}

# One setup at a time in one checkout.
if has flock; then
    exec 9<scripts/bootstrap.sh
    flock 9
fi

if [ "$(cat "$venv/.fingerprint" 2>/dev/null)" != "$(fingerprint)" ]; then
    make_venv
    install_packages
    ensure_llvm
    say "ready"
else
    ensure_llvm
fi
if [ "${1:-}" = "--extras" ]; then install_extras; fi
