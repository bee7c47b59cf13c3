"""The commands that README and docs show, and what CI does with each: run as it stands, in a quick form, or left out.

    python scripts/documented_commands.py     # lists them, in the order in which tests/packaging runs them

A block's quick form stands in an HTML comment right above it, with the reason for it. A command of the block without a
counterpart there is left out for that reason:

    <!-- in CI (an hour, and maps from the network):
    channelfm pretrain pretrain-cddim-demo --data data/mini --out runs/mini -s steps=2
    -->
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_BLOCK = re.compile(
    r"(?:<!-- in CI \((?P<reason>.*?)\)(?P<quick>:.*?)?\s*-->\n)?"
    r"^```(?P<language>bash|python)\n(?P<code>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)
_INCLUDED = re.compile(r'^--8<-- "(.*)"$', re.MULTILINE)


@dataclass(frozen=True)
class Command:
    """A command, or a whole Python program, as a document shows it: ``shown`` at ``place``. ``run`` is what CI runs of
    it, None where it is left out; ``reason`` says why it is not run as it stands."""

    place: str
    language: str
    shown: str
    run: str | None
    reason: str | None


def documented_commands() -> list[Command]:
    """All of them, in the order of the documents; what is shown twice counts once."""
    found: dict[str, Command] = {}
    for document in DOCUMENTS:
        for command in commands_in(document.read_text(encoding="utf-8"), str(document.relative_to(ROOT))):
            found.setdefault(command.shown, command)
    return list(found.values())


def commands_in(text: str, name: str) -> Iterator[Command]:
    """The commands of one document. ValueError for a quick form that stands for no command of its block."""
    for block in _BLOCK.finditer(text):
        place = f"{name}:{text.count(chr(10), 0, block.start('language')) + 1}"
        reason, quick = block["reason"], _lines((block["quick"] or "").removeprefix(":"))
        if block["language"] == "python":
            code = _INCLUDED.sub(
                lambda match: (ROOT / match[1]).read_text(encoding="utf-8").rstrip("\n"), block["code"]
            )
            yield Command(place, "python", code, None if reason else code, reason)
            continue
        for shown in _lines(block["code"]):
            form = shown if reason is None else next((line for line in quick if _same(line, shown)), None)
            quick = [line for line in quick if line != form]
            yield Command(place, "bash", shown, form, None if form == shown else reason)
        if quick:
            raise ValueError(f"{place}: no command of this block has the quick form: {quick[0]}")


def _lines(code: str) -> list[str]:
    """Commands, one a line, without comments and continued lines."""
    joined = re.sub(r"\s*\\\n\s*", " ", code)
    lines = (re.sub(r"(^|\s+)# .*$", "", line).strip() for line in joined.splitlines())
    return [line for line in lines if line]


def _same(quick: str, shown: str) -> bool:
    """Whether two commands are the same verb on the same thing."""
    words = shown.split()[:3]
    return quick.split()[: len(words)] == words


def main() -> None:
    """Print the list."""
    for command in documented_commands():
        shown = command.shown.splitlines()[0] if command.language == "bash" else "a Python program"
        print(f"{command.place}: {shown}")
        if command.run is None:
            print(f"    left out: {command.reason}")
        elif command.reason is not None:
            print(f"    in CI: {command.run}\n    because: {command.reason}")


if __name__ == "__main__":
    main()
