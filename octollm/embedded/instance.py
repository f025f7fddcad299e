"""Where a running system is: the two files in its data directory.

``up.json`` says how to reach the engines of a running ``octollm up``;
``keys.json`` (mode 0600) holds the keys of an embedded system. Imports no Django.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from dataclasses import asdict, dataclass
from pathlib import Path

from octollm.embedded.errors import EmbeddedError
from octollm.embedded.tether import is_held

DEFAULT_DATA_DIR = ".octollm"


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A running system.

    Attributes:
        pid: of the supervisor.
        base_url: where the web process answers.
        prometheus_dir: the directory that all processes share for metrics.
        tether: the file that the supervisor holds locked as long as it lives.
    """

    pid: int
    database_url: str
    redis_url: str
    base_url: str
    prometheus_dir: str
    tether: str


@dataclass(frozen=True, kw_only=True)
class Keys:
    """The secrets of an embedded system, each 256 random bits in URL-safe base64."""

    secret_key: str
    vault_key: str
    hmac_key: str


def data_dir() -> Path:
    """Return the data directory that the environment names, or the default."""
    return Path(os.environ.get("OCTOLLM_DATA_DIR") or DEFAULT_DATA_DIR).absolute()


def read_instance(directory: Path) -> Instance | None:
    """Return what ``up.json`` says, or nothing when no system runs there.

    The file is removed at an ordered stop; after a crash nobody holds the lock it
    names, and it is ignored. A PID would not do: another process may have it.
    """
    try:
        instance = Instance(**json.loads((directory / "up.json").read_text()))
        return instance if is_held(Path(instance.tether)) else None
    except (OSError, ValueError, TypeError):
        return None


def write_instance(directory: Path, instance: Instance) -> None:
    """Publish how to reach the engines, in one atomic step."""
    partial = directory / "up.json.part"
    partial.touch(mode=0o600)
    partial.write_text(json.dumps(asdict(instance)))
    partial.replace(directory / "up.json")


def read_keys(directory: Path) -> Keys | None:
    """Return the keys of the embedded system, or nothing when there are none."""
    try:
        return Keys(**json.loads((directory / "keys.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None


def ensure_keys(directory: Path) -> Keys:
    """Return the keys of the embedded system, made at its first start.

    Raises:
        EmbeddedError: the file is there but cannot be read.
    """
    path = directory / "keys.json"
    if path.exists():
        keys = read_keys(directory)
        if keys is None:
            # New keys in their place would make all that is in the vault unreadable.
            raise EmbeddedError(
                f"{path} is damaged or cannot be read: bring it back from a backup."
            )
        return keys
    keys = Keys(secret_key=_new_key(), vault_key=_new_key(), hmac_key=_new_key())
    partial = directory / "keys.json.part"
    partial.unlink(missing_ok=True)
    # Never readable by others, not even before a chmod.
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(keys), file)
        file.flush()
        os.fsync(descriptor)
    partial.replace(path)
    return keys


def _new_key() -> str:
    return base64.urlsafe_b64encode(secrets.token_bytes(32)).decode()
