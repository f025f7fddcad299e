"""Whether the database was prepared by exactly this installation.

A migrate with nothing to do costs seconds; comparing a hash costs milliseconds. The
stamp lies inside PGDATA: a new cluster has none.
"""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

_PROJECT = Path(__file__).resolve().parents[2]
_PACKAGES = ("octollm", "reflex", "arms", "planner", "tasks_app")


def installation_hash() -> str:
    """Return a hash of all that decides which migrations there are.

    That is our own migrations, the settings' list of apps, and the names and
    versions of everything installed, which stand for the apps of others.
    """
    digest = hashlib.sha256()
    for path in _own_files():
        digest.update(path.relative_to(_PROJECT).as_posix().encode())
        digest.update(path.read_bytes())
    for name in _installed():
        digest.update(name.encode())
    return digest.hexdigest()


def _own_files() -> list[Path]:
    migrations = [
        path
        for package in _PACKAGES
        for path in (_PROJECT / package).glob("**/migrations/*.py")
    ]
    return [_PROJECT / "octollm" / "settings.py", *sorted(migrations)]


def _installed() -> list[str]:
    """Return ``name-version.dist-info`` of what is installed, sorted."""
    return sorted(
        entry.name
        for place in map(Path, sys.path)
        if place.is_dir()
        for entry in place.glob("*.dist-info")
    )


def is_prepared(postgres_data: Path) -> bool:
    """Tell whether the cluster was last prepared by this installation."""
    try:
        return _stamp(postgres_data).read_text() == installation_hash()
    except OSError:
        return False


def mark_prepared(postgres_data: Path) -> None:
    """Note that the cluster is prepared."""
    _stamp(postgres_data).write_text(installation_hash())


def _stamp(postgres_data: Path) -> Path:
    return postgres_data / "octollm.prepared"
