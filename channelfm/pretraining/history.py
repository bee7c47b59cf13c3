"""``history.json``: what a run measured on its way, in rows of increasing step, for people and plots.

It holds times and speeds and is therefore no part of the checkpoint, whose bytes depend on recipe and data alone.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from channelfm.errors import IntegrityError
from channelfm.files import write_atomically
from channelfm.plain import from_json


class History:
    """Rows of a run; those of steps that a resumed run does again are left out."""

    def __init__(self, path: Path, steps_done: int) -> None:
        self._path = path
        self.rows: list[dict[str, Any]] = []
        if not steps_done or not path.is_file():
            return
        try:
            self.rows = [dict(row) for row in from_json(path.read_text(encoding="utf-8")) if row["step"] <= steps_done]
        except (ValueError, KeyError, TypeError) as error:
            raise IntegrityError(f"{path}: not a whole history ({error}); delete it, the run does without") from error

    def add(self, step: int, **values: Any) -> None:
        """Note values after ``step`` steps, in the row of that step."""
        if not self.rows or self.rows[-1]["step"] != step:
            self.rows.append({"step": step})
        self.rows[-1] |= values

    def save(self) -> None:
        """Write the file."""
        lines = ",\n".join(json.dumps(row) for row in self.rows)
        write_atomically(self._path, f"[\n{lines}\n]\n".encode())
