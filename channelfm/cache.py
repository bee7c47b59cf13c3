"""Where the package keeps, from run to run, what it can make again."""

from __future__ import annotations

import os
from pathlib import Path


def cache_folder() -> Path:
    """The package's folder in the user's cache (``XDG_CACHE_HOME``); it may not be there, or not be writable.

    Raises RuntimeError for a user without a home.
    """
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "channelfm"
