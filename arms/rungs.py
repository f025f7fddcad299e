"""How strictly a server can be asked for JSON: what was learnt, for all processes.

Kept in Redis per address and model, with a short copy here; without Redis each
process learns for itself.
"""

from __future__ import annotations

import logging
import time

from redis.exceptions import RedisError

from arms.questions import RUNGS, Rung
from octollm.resilience import redis_client
from reflex.fingerprints import fingerprint

logger = logging.getLogger(__name__)

# A server that refused a format is asked for it again after an update of a day.
AFTER_REFUSAL_S = 24 * 3600
# One that ignored it may have done so by chance.
AFTER_IGNORING_S = 3600
# What another process learnt is seen within this time.
FRESH_S = 5.0


# By key: the rung, and until when (monotonic) it need not be looked up again.
_known: dict[str, tuple[Rung, float]] = {}


def highest(base_url: str, model: str) -> Rung:
    """Return the strictest rung that is not known to fail there."""
    key, now = _key(base_url, model), time.monotonic()
    rung, fresh_until = _known.get(key, (RUNGS[0], 0.0))
    if now < fresh_until:
        return rung
    try:
        rung = _rung_in(redis_client.sparing().get(key))
    except RedisError:
        # What this process learnt holds until Redis is back.
        logger.debug("rungs are not shared just now")
    _known[key] = (rung, now + FRESH_S)
    return rung


def remember(base_url: str, model: str, rung: Rung, *, for_s: int) -> None:
    """Begin at ``rung`` there from now on, for so many seconds."""
    key = _key(base_url, model)
    logger.info("%s is asked for %s from now on", model, rung)
    _known[key] = (rung, time.monotonic() + FRESH_S)
    try:
        redis_client.sparing().set(key, rung, ex=for_s)
    except RedisError as error:
        logger.warning("a rung is not shared: %s", type(error).__name__)


def below(rung: Rung) -> Rung:
    """Return the next plainer rung; below the last there is none to ask for."""
    return RUNGS[RUNGS.index(rung) + 1]


def _rung_in(value: object) -> Rung:
    """Read what is stored, which another version may have written."""
    return next((rung for rung in RUNGS if rung == value), RUNGS[0])


def _key(base_url: str, model: str) -> str:
    address = fingerprint({"url": base_url, "model": model}, purpose="llm.rung")
    return f"octollm:llm:rung:{address}"
