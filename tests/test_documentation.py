"""What the documentation shows is what the package does."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from channelfm.cli import app

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
FIGURES = sorted(file for file in (ROOT / "docs" / "figures").glob("*.py") if file.name != "style.py")


def test_the_readme_shows_the_quick_start_example() -> None:
    shown = re.search(r"```python\n(.*?)```", README, re.DOTALL)
    assert shown is not None
    example = (ROOT / "examples" / "quickstart.py").read_text(encoding="utf-8")
    assert ast.dump(ast.parse(shown.group(1))) == ast.dump(ast.parse(example))


def test_the_readme_tree_names_every_module_and_no_other() -> None:
    tree = re.search(r"```\nchannelfm/\n(.*?)\nrecipes/", README, re.DOTALL)
    assert tree is not None
    named = {line.split()[0].rstrip("/") for line in tree.group(1).splitlines()}
    package = ROOT / "channelfm"
    modules = {file.name for file in package.glob("*.py")} - {"__init__.py"}
    folders = {file.parent.name for file in package.glob("*/__init__.py")}
    assert named == modules | folders


def test_every_verb_is_documented_and_every_documented_verb_exists() -> None:
    page = (ROOT / "docs" / "cli.md").read_text(encoding="utf-8")
    table = page.split("## ")[0]
    documented = set(re.findall(r"^\| `(\w+)", table, re.MULTILINE))
    assert documented == set(get_command(app).commands)


def test_links_between_documents_lead_somewhere() -> None:
    for document in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")):
        targets = re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text(encoding="utf-8"))
        missing = [target for target in targets if not (document.parent / target).exists()]
        assert not missing, f"{document.name} links to {missing}"


@pytest.mark.parametrize("script", FIGURES, ids=lambda file: file.stem)
def test_every_figure_can_be_drawn_again(script: Path, tmp_path: Path, extract) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    if script.stem == "scenes":
        environment["CHANNELFM_MAPS"] = str(extract())
    subprocess.run([sys.executable, str(script), str(tmp_path)], check=True, env=environment, timeout=120)
    drawn = list(tmp_path.iterdir())
    assert drawn
    for picture in drawn:
        assert picture.stat().st_size > 5_000
        assert (ROOT / "docs" / "images" / picture.name).is_file()


def test_no_page_of_the_documentation_asks_another_host() -> None:
    settings = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    assert "font: false" in settings
    for page in (ROOT / "docs").glob("*.md"):
        assert not re.search(r"<(script|img|link)[^>]+https?:", page.read_text(encoding="utf-8"))
