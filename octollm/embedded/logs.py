"""The logs of supervised processes: plain files, bounded."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

MAX_BYTES = 10 * 2**20


def trim(log: Path, *, max_bytes: int = MAX_BYTES) -> None:
    """Move a long log's content to ``NAME.1`` and go on with an empty file.

    The process keeps the file open and appends, so the file is emptied, not renamed;
    lines written in between are lost.
    """
    try:
        if log.stat().st_size <= max_bytes:
            return
    except FileNotFoundError:
        return
    shutil.copyfile(log, log.with_name(f"{log.name}.1"))
    os.truncate(log, 0)


def tail(log: Path, *, max_bytes: int = 1500) -> str:
    """Return the last whole lines of a log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - max_bytes))
            text = file.read().decode(errors="replace")
    except FileNotFoundError:
        return ""
    lines = text.splitlines()
    return "\n".join(lines[1:] if len(text) >= max_bytes else lines)
