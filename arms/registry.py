"""Which arms there are: the catalogue, the arms of this process, and who is away."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from datetime import timedelta
from functools import cache, lru_cache

from django.conf import settings
from django.db.models.functions import Now
from django.utils.module_loading import import_string

from arms import remote
from arms.contract import Arm, ArmSpec
from arms.registry_models import ArmInstance
from octollm.errors import ArmUnavailableError

logger = logging.getLogger(__name__)

IN_PROCESS = "in-process"
# How long a process takes an answer for the present.
FRESH_S = 5.0
# What was found longer ago says nothing any more: nobody looks after it.
KNOWN_FOR = timedelta(seconds=60)


@cache
def _arms() -> dict[str, Arm]:
    arms: list[Arm] = [import_string(path)() for path in settings.OCTOLLM_ARMS]
    return {arm.spec.name: arm for arm in sorted(arms, key=lambda arm: arm.spec.name)}


def catalogue() -> tuple[ArmSpec, ...]:
    """Return the catalogue entries of all arms, by name."""
    elsewhere = [arm.spec for arm in remote.arms().values()]
    if not elsewhere:
        return local_catalogue()
    by_name = {spec.name: spec for spec in (*elsewhere, *local_catalogue())}
    return tuple(by_name[name] for name in sorted(by_name))


def local_catalogue() -> tuple[ArmSpec, ...]:
    """Return the catalogue entries of the arms that run in this process, by name."""
    return tuple(arm.spec for arm in _arms().values())


def get_arm(name: str) -> Arm:
    """Return the arm of that name.

    Raises:
        ArmUnavailableError: there is none, or one elsewhere that nobody has reached.
    """
    arm = _arms().get(name) or remote.arms().get(name)
    if arm is None:
        message = f"No arm {name} runs here."
        if remote.is_named(name):
            message = f"The arm {name} has not been reached yet."
        raise ArmUnavailableError(message, arm_name=name)
    return arm


def location_of(name: str) -> str:
    """Return where an arm is: its URL, ``in-process``, or nothing if it is unknown."""
    if name in _arms():
        return IN_PROCESS
    arm = remote.arms().get(name)
    return "" if arm is None else arm.place.url


def away() -> Mapping[str, str]:
    """Return the arms that cannot be had now, each with the reason; ≤ 5 s old.

    An arm is away when its last checks say so of every place where it runs. One of
    which nothing is known is not, and none is when the database cannot tell.
    """
    return _away_during(int(time.monotonic() // FRESH_S))


def forget_away() -> None:
    """Look again at once."""
    _away_during.cache_clear()


@lru_cache(maxsize=1)
def _away_during(_period: int) -> Mapping[str, str]:
    down = ArmInstance.State.DOWN
    try:
        rows = list(
            ArmInstance.objects.values_list("arm_id", "state", "detail").exclude(
                state=down, checked_at__lt=Now() - KNOWN_FOR
            )
        )
    except Exception:
        # Plans that name an arm which is down are better than no plans.
        logger.exception("which arms are away could not be read")
        return {}
    here = {arm for arm, state, _ in rows if state != down}
    return {arm: detail for arm, state, detail in rows if arm not in here}
