"""Where a running system is: the two files in its data directory.

``up.json`` says how to reach the engines of a running ``octollm up``;
``keys.json`` (mode 0600) holds the keys of an embedded system. Imports no Django.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

DEFAULT_DATA_DIR = ".octollm"


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A running system.

    Attributes:
        pid: of the supervisor.
        base_url: where the web process answers.
        prometheus_dir: the directory that all processes share for metrics.
    """

    pid: int
    database_url: str
    redis_url: str
    base_url: str
    prometheus_dir: str


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

    The file is removed at an ordered stop; after a crash it may name a supervisor
    that is gone, in which case it is ignored.
    """
    try:
        instance = Instance(**json.loads((directory / "up.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None
    try:
        os.kill(instance.pid, 0)
    except ProcessLookupError:
        return None
    except PermissionError:
        pass  # it lives, as another user
    return instance


def write_instance(directory: Path, instance: Instance) -> None:
    """Publish how to reach the engines, in one atomic step."""
    partial = directory / "up.json.part"
    partial.write_text(json.dumps(asdict(instance)))
    partial.chmod(0o600)
    partial.replace(directory / "up.json")


def read_keys(directory: Path) -> Keys | None:
    """Return the keys of the embedded system, or nothing when there are none."""
    try:
        return Keys(**json.loads((directory / "keys.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None
