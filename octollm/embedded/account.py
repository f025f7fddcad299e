"""As whom the engines run: PostgreSQL refuses to run as root."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Account:
    """Another user than the one we are."""

    uid: int
    gid: int

    @property
    def popen_options(self) -> dict[str, Any]:
        """What ``subprocess`` needs to start a program as this user."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}


def engine_account() -> Account | None:
    """Return ``nobody`` when we are root, nothing when the engines run as we do."""
    if os.geteuid() != 0:
        return None
    entry = pwd.getpwnam("nobody")
    return Account(uid=entry.pw_uid, gid=entry.pw_gid)
