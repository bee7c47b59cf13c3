"""The distributions as they would be published, built once, and a place where the wheel alone is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOWHERE = "http://127.0.0.1:9"  # nobody listens at the port that discards


@pytest.fixture(scope="session")
def distributions(tmp_path_factory) -> Path:
    """A folder with the wheel and the sdist of this checkout, built without a network."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-t", "sdist", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=300)
    return folder


@pytest.fixture(scope="session")
def installed(distributions, tmp_path_factory) -> Path:
    """The folder of programs of an environment in which the wheel is installed; dependencies are those of this one."""
    place = tmp_path_factory.mktemp("installed")
    venv.create(place, with_pip=False, symlinks=True)
    python, wheel = place / "bin" / "python", next(distributions.glob("*.whl"))
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-deps", "--no-index", str(wheel)]
    subprocess.run(pip, check=True, capture_output=True, timeout=300)
    packages = next((place / "lib").glob("python*/site-packages"))
    # Searched after what lies here, and without what its own .pth files would add, such as this checkout.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"), encoding="utf-8")
    return python.parent


@pytest.fixture(scope="session")
def stranger(installed, tmp_path_factory) -> dict[str, str]:
    """The environment of somebody who has installed the wheel: no maps, no network, a home of their own."""
    kept = {name: os.environ[name] for name in ("LANG", "LD_LIBRARY_PATH", "TMPDIR") if name in os.environ}
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"), NOWHERE)
    return kept | proxies | {"PATH": f"{installed}:/usr/bin:/bin", "HOME": str(tmp_path_factory.mktemp("home"))}
