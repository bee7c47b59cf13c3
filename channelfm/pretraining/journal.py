"""What a run measures on its way: ``history.json``, in rows of increasing step, and a log for TensorBoard.

Both hold times and speeds and are therefore no part of the checkpoint, whose bytes depend on recipe and data alone.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from channelfm.errors import IntegrityError
from channelfm.files import write_atomically
from channelfm.plain import from_json

HISTORY = "history.json"


class Journal:
    """Rows of a run, without those of steps that a resumed run does again, and scalars in one new file of ``logs``.

    Only the process that ``writes`` keeps files. Records are written where they are made: TensorBoard's own writer puts
    a thread between, which shows users the traceback of a full disk and its caller an error of another kind. Raises
    OSError, which names the file, and IntegrityError for a history that is not whole.
    """

    def __init__(self, folder: Path, steps_done: int, writes: bool) -> None:
        self._path, self._writes = folder / HISTORY, writes
        self.rows: list[dict[str, Any]] = []
        if steps_done and self._path.is_file():
            try:
                kept = from_json(self._path.read_text(encoding="utf-8"))
                self.rows = [dict(row) for row in kept if row["step"] <= steps_done]
            except (ValueError, KeyError, TypeError) as error:
                raise IntegrityError(
                    f"{self._path}: not a whole history ({error}); delete it, the run does without"
                ) from error
        if writes:
            (folder / "logs").mkdir(parents=True, exist_ok=True)
            self._log = folder / "logs" / f"events.out.tfevents.{time.time_ns()}.{os.getpid()}"
            self._file = self._log.open("xb")
            self._records = RecordWriter(self._file)
            self._write(Event(wall_time=time.time(), file_version="brain.Event:2"))
            self._flush()

    def add(self, step: int, **values: Any) -> None:
        """Note values after ``step`` steps, in the row of that step."""
        if not self.rows or self.rows[-1]["step"] != step:
            self.rows.append({"step": step})
        self.rows[-1] |= values

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Values by name, after ``step`` steps, for TensorBoard alone."""
        if self._writes:
            summary = [Summary.Value(tag=name, simple_value=float(value)) for name, value in values.items()]
            self._write(Event(wall_time=time.time(), step=step, summary=Summary(value=summary)))

    def save(self, last: bool = False) -> None:
        """Write the history and let readers see all that was added; ``last``: let go of the log."""
        if self._writes:
            lines = ",\n".join(json.dumps(row) for row in self.rows)
            write_atomically(self._path, f"[\n{lines}\n]\n".encode())
            self._flush()
            if last:
                self._file.close()

    def _write(self, event: Event) -> None:
        try:
            self._records.write(event.SerializeToString())
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._log)) from error

    def _flush(self) -> None:
        try:
            self._file.flush()
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(self._log)) from error
