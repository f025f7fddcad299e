"""The plan cache: plans and failures under their keys in Redis, shared by everybody.

Nothing here raises because of Redis. While it is away there is no cache: planning
goes on.
"""

from __future__ import annotations

import contextlib
import enum
import random
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from redis.exceptions import RedisError

from octollm.resilience import redis_client
from planner.kept import Kind

#: How long failures are kept, seconds; drawn between the two.
FAILED_S = (2.0, 5.0)
#: How long recipes serve in the place of a model that failed: long enough that an
#: outage does not make everybody ask, short enough that it does not stick.
RECIPE_S = 60.0
#: How long a claim to plan lives unless it is renewed.
CLAIM_S = 2.5
# In the order in which they are looked for.
_KINDS: tuple[Kind, ...] = ("plan", "recipe", "failed")
_random = random.Random()  # noqa: S311  # spreads ends of life, guards nothing

# One step for the server, so that nobody can claim what was kept a moment ago. A claim
# without an end, or with one far off, is not ours.
_ASK = """
local found = redis.call('MGET', KEYS[1], KEYS[2], KEYS[3])
for place = 1, 3 do
  if found[place] then return {place, found[place]} end
end
local left = redis.call('PTTL', KEYS[4])
if left == -1 or left > tonumber(ARGV[2]) then redis.call('DEL', KEYS[4]) end
if redis.call('SET', KEYS[4], ARGV[1], 'NX', 'PX', ARGV[2]) then return {4, ''} end
return {0, ''}
"""
_RENEW = """
if redis.call('GET', KEYS[1]) == ARGV[1] then
  return redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return 0
"""
_DELETE_IF_EQUAL = """
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


class Standing(enum.Enum):
    """What is known about a key."""

    FOUND = enum.auto()  # something is kept under it
    YOURS = enum.auto()  # nothing is, and the caller has claimed it now
    BUSY = enum.auto()  # nothing is, and another caller is about to change that
    AWAY = enum.auto()  # Redis cannot tell


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What was found; ``kind`` and ``text`` only with ``FOUND``."""

    standing: Standing
    kind: Kind = "plan"
    text: str = ""


def is_on() -> bool:
    """Tell whether plans are kept at all."""
    return bool(settings.OCTOLLM_PLAN_CACHE_TTL_S > 0)


def ask(key: str, *, token: str) -> Answer:
    """Return what is kept under ``key``; claim it under ``token`` if nothing is.

    A claim ends after ``CLAIM_S`` unless it is renewed.
    """
    keys = [*(_name(kind, key) for kind in _KINDS), _name("claim", key)]
    try:
        found = _run(_ASK, keys, token, _ms(CLAIM_S))
    except UnicodeDecodeError:
        # Somebody else's bytes, and they cannot be compared.
        _tell("unlink", *keys[:3])
        found = _run(_ASK, keys, token, _ms(CLAIM_S))
    if found is None:
        return Answer(standing=Standing.AWAY)
    place, text = found
    if 1 <= place <= len(_KINDS):
        return Answer(standing=Standing.FOUND, kind=_KINDS[place - 1], text=text)
    return Answer(standing=Standing.YOURS if place else Standing.BUSY)


def keep_plan(key: str, text: str) -> None:
    """Keep a plan for a day, give or take a tenth: plans must not all end at once."""
    life_s = settings.OCTOLLM_PLAN_CACHE_TTL_S * _random.uniform(0.9, 1.1)
    _tell("set", _name("plan", key), text, px=_ms(life_s))


def keep_failure(key: str, text: str) -> None:
    """Keep a failure for a moment, so that callers at the same time need not try."""
    life_s = _random.uniform(*FAILED_S)
    _tell("set", _name("failed", key), text, px=_ms(life_s))


def keep_recipe(key: str, text: str) -> None:
    """Note that recipes serve in the place of a model that failed."""
    _tell("set", _name("recipe", key), text, px=_ms(RECIPE_S))


def drop(key: str, answer: Answer) -> None:
    """Forget what cannot be used, unless it was replaced meanwhile."""
    _run(_DELETE_IF_EQUAL, [_name(answer.kind, key)], answer.text)


def renew(key: str, *, token: str) -> bool:
    """Prolong a claim; tell whether it is still the caller's."""
    return bool(_run(_RENEW, [_name("claim", key)], token, _ms(CLAIM_S)))


def release(key: str, *, token: str) -> None:
    """End a claim, if it is still the caller's."""
    _run(_DELETE_IF_EQUAL, [_name("claim", key)], token)


def _name(kind: str, key: str) -> str:
    # The braces keep what belongs to one plan on one node of a cluster.
    return f"octollm:plan:{kind}:{{{key}}}"


def _ms(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _run(script: str, keys: list[str], *arguments: str | int) -> Any:
    """Return what a script returned, or nothing while Redis is away."""
    try:
        run = redis_client.sparing().register_script(script)
        return run(keys=keys, args=list(arguments))
    except RedisError:
        return None


def _tell(command: str, *arguments: str, **options: int) -> None:
    """Run one command whose answer does not matter."""
    with contextlib.suppress(RedisError):
        getattr(redis_client.sparing(), command)(*arguments, **options)
