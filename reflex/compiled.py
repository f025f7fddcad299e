"""Compiled rule databases, kept between starts.

Compiling takes seconds of CPU, reading a compiled database milliseconds. A file is
only believed when this installation signed it: a foreign one could find nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from django.conf import settings

_SIGNATURE = 32


def kept(name: str, compile_: Callable[[], bytes]) -> bytes:
    """Return the bytes kept under a name, made and kept if there are none.

    Args:
        name: of all that the bytes depend on; it becomes a part of a file name.
        compile_: makes them.
    """
    path = Path(settings.OCTOLLM_REFLEX_RULES_DIR) / f"{name}.hsdb"
    content = _read(path)
    if content is None:
        content = compile_()
        _write(path, content)
    return content


def discard(name: str) -> None:
    """Forget what is kept under a name, as when it was made on another machine."""
    with suppress(OSError):
        (Path(settings.OCTOLLM_REFLEX_RULES_DIR) / f"{name}.hsdb").unlink()


def _read(path: Path) -> bytes | None:
    try:
        signed = path.read_bytes()
    except OSError:
        return None
    content = signed[_SIGNATURE:]
    is_ours = hmac.compare_digest(signed[:_SIGNATURE], _signature(path.name, content))
    return content if is_ours else None


def _write(path: Path, content: bytes) -> None:
    """Put the file in its place at once; without a writable place there is none."""
    with suppress(OSError):
        # A directory that holds no installation is nobody's place to write to.
        path.parent.mkdir(mode=0o700, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(_signature(path.name, content) + content)
        Path(name).replace(path)


def _signature(name: str, content: bytes) -> bytes:
    key = hashlib.sha256(str(settings.OCTOLLM_HMAC_KEY).encode()).digest()
    digest = hashlib.blake2b(name.encode() + b"\x00", key=key, digest_size=_SIGNATURE)
    digest.update(content)
    return digest.digest()
