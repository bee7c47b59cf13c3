"""The README as package indexes show it: links within the repository lead to the repository's address.

Hatchling calls this when it builds; in the repository links stay relative, so that they work in every clone.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#)([^)]+)\)")


def with_absolute_links(readme: str, repository: str) -> str:
    """Markdown whose pictures and links, where they are relative, lead to the main branch of a repository."""

    def absolute(link: re.Match[str]) -> str:
        picture, text, target = link.groups()
        return f"{picture}[{text}]({repository}/{'raw' if picture else 'blob'}/main/{target})"

    return _LINK.sub(absolute, readme)


class PyPIReadme(MetadataHookInterface):
    """Puts the README into the metadata."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set ``readme``, which pyproject.toml declares to be dynamic."""
        text = (Path(self.root) / "README.md").read_text(encoding="utf-8")
        repository = metadata["urls"]["Repository"]
        metadata["readme"] = {"content-type": "text/markdown", "text": with_absolute_links(text, repository)}
