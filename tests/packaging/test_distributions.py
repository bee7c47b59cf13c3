"""What is published: metadata that hold on a package index, licences of data and weights, and what a reader needs."""

from __future__ import annotations

import ast
import re
import sys
import tarfile
import tomllib
import zipfile
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
# Modules of the standard library that Python 3.12 and 3.13 no longer have (PEP 594, PEP 632, "What's new").
REMOVED = {
    *("aifc", "asynchat", "asyncore", "audioop", "cgi", "cgitb", "chunk", "crypt", "distutils", "imghdr", "imp"),
    *("lib2to3", "mailcap", "msilib", "nis", "nntplib", "ossaudiodev", "pipes", "smtpd", "sndhdr", "spwd", "sunau"),
    *("telnetlib", "uu", "xdrlib"),
}


@pytest.fixture(scope="module")
def in_wheel(distributions) -> dict[str, bytes]:
    """Contents of the wheel's files that are no package code, and the names of all."""
    with zipfile.ZipFile(next(distributions.glob("*.whl"))) as wheel:
        return {name: wheel.read(name) if ".dist-info/" in name else b"" for name in wheel.namelist()}


@pytest.fixture(scope="module")
def in_sdist(distributions) -> set[str]:
    """Names of the sdist's files, without the folder that holds them all."""
    with tarfile.open(next(distributions.glob("*.tar.gz"))) as sdist:
        return {name.partition("/")[2] for name in sdist.getnames()}


@pytest.fixture(scope="module")
def metadata(in_wheel) -> Message:
    """The wheel's metadata; the payload is the README."""
    return Parser().parsestr(next(text for name, text in in_wheel.items() if name.endswith("/METADATA")).decode())


def test_the_wheel_holds_recipes_weights_and_the_data_of_its_benchmarks(in_wheel) -> None:
    assert {f"channelfm/recipes/{file.name}" for file in (ROOT / "recipes").glob("*.yaml")} <= set(in_wheel)
    for folder in (*(ROOT / "channelfm" / "weights").iterdir(), *(ROOT / "channelfm" / "sets").iterdir()):
        files = {str(file.relative_to(ROOT)) for file in folder.rglob("*") if file.is_file()}
        assert files <= set(in_wheel)


def test_licences_of_code_data_and_weights_are_in_both(in_wheel, in_sdist) -> None:
    notice = next(text for name, text in in_wheel.items() if name.endswith("/licenses/NOTICE")).decode()
    for said in ("channelfm/sets", "channelfm/weights", "OpenStreetMap contributors", "ODbL", "Apache License"):
        assert said in notice
    assert any(name.endswith("/licenses/LICENSE") for name in in_wheel)
    assert {"LICENSE", "NOTICE"} <= in_sdist


def test_the_sdist_holds_what_a_reader_looks_for(in_sdist) -> None:
    wanted = {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "examples/quickstart.py", "docs/index.md", "Makefile"}
    wanted |= {str(file.relative_to(ROOT)) for file in (ROOT / "tests").rglob("*.py")}
    assert wanted <= in_sdist
    assert not [name for name in in_sdist if name.startswith(("build/", "data/", "runs/", ".venv/"))]


def test_links_of_the_readme_hold_outside_the_repository(metadata) -> None:
    repository = PROJECT["project"]["urls"]["Repository"]
    page = metadata.get_payload()
    assert metadata["Description-Content-Type"] == "text/markdown"
    targets = re.findall(r"\]\(([^)]+)\)", page)
    assert len(targets) > 10
    for target in targets:
        assert target.startswith(("https://", "#")), target
        if target.startswith(repository):
            kind, _, path = target.removeprefix(f"{repository}/").partition("/main/")
            assert kind in {"blob", "raw"}
            assert (ROOT / path.partition("#")[0]).exists(), target


def test_urls_and_versions_are_told(metadata) -> None:
    urls = dict(line.split(", ") for line in metadata.get_all("Project-URL"))
    assert {"Repository", "Documentation", "Changelog", "Issues"} <= set(urls)
    for minor in (11, 12, 13):
        assert f"Programming Language :: Python :: 3.{minor}" in metadata.get_all("Classifier")


def test_no_source_needs_what_later_pythons_dropped() -> None:
    for file in sorted((ROOT / "channelfm").rglob("*.py")):
        gone = _imported(file) & REMOVED
        assert not gone, f"{file}: imports {gone}"


def test_every_source_is_of_the_oldest_python_that_is_promised() -> None:
    oldest = tuple(int(part) for part in PROJECT["project"]["requires-python"].removeprefix(">=").split("."))
    for file in sorted((ROOT / "channelfm").rglob("*.py")):
        ast.parse(file.read_text(encoding="utf-8"), str(file), feature_version=oldest)


def test_the_type_check_does_not_look_into_what_extras_bring() -> None:
    """Whether they are installed changes nothing: what is imported of them is skipped, all of it."""
    skipped, known = set(), set()
    for entry in PROJECT["tool"]["mypy"]["overrides"]:
        names = {name.removesuffix(".*") for name in entry["module"]} if isinstance(entry["module"], list) else set()
        (skipped if entry.get("follow_imports") == "skip" else known).update(names)
    base = {re.split(r"[<>=\[]", line)[0].replace("-", "_") for line in PROJECT["project"]["dependencies"]}
    base |= {"yaml", "PIL", "mpl_toolkits", "lightning", "huggingface_hub"} | known  # these come with the others
    for file in (ROOT / "channelfm").rglob("*.py"):
        foreign = _imported(file) - base - set(sys.stdlib_module_names) - {"channelfm"}
        assert foreign <= skipped, f"{file}: imports {foreign - skipped}, which the type check would look into"


def _imported(file: Path) -> set[str]:
    """Top-level names of the modules that a file imports anywhere."""
    tree = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    names: set[str] = set()
    for node in tree:
        if isinstance(node, ast.Import):
            names |= {item.name.partition(".")[0] for item in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.partition(".")[0])
    return names
