"""Which arms there are: the catalogue, and the arms of this process."""

from __future__ import annotations

from functools import cache

from django.conf import settings
from django.utils.module_loading import import_string

from arms.contract import Arm, ArmSpec
from octollm.errors import ArmUnavailableError


@cache
def _arms() -> dict[str, Arm]:
    arms: list[Arm] = [import_string(path)() for path in settings.OCTOLLM_ARMS]
    return {arm.spec.name: arm for arm in sorted(arms, key=lambda arm: arm.spec.name)}


def catalogue() -> tuple[ArmSpec, ...]:
    """Return the catalogue entries of all arms, by name."""
    return tuple(arm.spec for arm in _arms().values())


def get_arm(name: str) -> Arm:
    """Return the arm of that name.

    Raises:
        ArmUnavailableError: no arm of that name runs here.
    """
    try:
        return _arms()[name]
    except KeyError:
        raise ArmUnavailableError(f"No arm {name} runs here.", arm_name=name) from None
