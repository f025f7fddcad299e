"""Where the engines' files and sockets are. Makes no file, starts nothing."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

# sockaddr_un.sun_path holds 108 bytes on Linux (104 on macOS), one of them NUL.
MAX_SOCKET_PATH_BYTES = 103
_POSTGRES_SOCKET = ".s.PGSQL.5432"
_VALKEY_SOCKET = "valkey.sock"
ROLE = DATABASE = "octollm"


@dataclass(frozen=True, kw_only=True)
class EngineLayout:
    """The places of both engines below one directory, their home.

    Attributes:
        home: everything of the engines; belongs to whoever starts them.
        sockets: the one directory that holds both unix sockets.
    """

    home: Path
    sockets: Path

    @property
    def postgres_data(self) -> Path:
        """PGDATA."""
        return self.home / "postgres"

    @property
    def valkey_data(self) -> Path:
        """Where Valkey keeps its append-only file."""
        return self.home / "valkey"

    @property
    def binaries(self) -> Path:
        """Where the binaries are copied to when their package cannot be reached."""
        return self.home / "bin"

    @property
    def valkey_socket(self) -> Path:
        """Valkey's unix socket."""
        return self.sockets / _VALKEY_SOCKET

    @property
    def database_url(self) -> str:
        """The address of our database, as Django's settings and libpq read it."""
        return database_url(self.sockets)

    @property
    def redis_url(self) -> str:
        """The address of Valkey's database 0, as redis-py reads it."""
        return f"unix://{quote(str(self.valkey_socket))}?db=0"


def engine_layout(home: Path) -> EngineLayout:
    """Return the layout below ``home``; the same for the same home and user."""
    return EngineLayout(home=home, sockets=socket_directory(home))


def socket_directory(home: Path) -> Path:
    """Return a directory whose sockets fit into a socket address.

    That is one inside ``home``, or a short one in ``/tmp`` when home's own path is
    too long. The latter is not ``tempfile.gettempdir()``: TMPDIR may be long too.
    """
    inside = home / "s"
    longest = max((_POSTGRES_SOCKET, _VALKEY_SOCKET), key=len)
    if len(os.fsencode(inside / longest)) <= MAX_SOCKET_PATH_BYTES:
        return inside
    digest = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    # Safe though /tmp is shared: it is made 0700 and its owner is checked.
    return Path(f"/tmp/octollm-{os.geteuid()}-{digest}")  # noqa: S108  # see above


def database_url(sockets: Path, *, database: str = DATABASE) -> str:
    """Return the address of a database of the PostgreSQL that listens there."""
    return f"postgresql://{ROLE}@{quote(str(sockets), safe='')}/{database}"
