"""Print what screening costs here: ``python -m reflex.measure``.

CPU time of one thread, the best of several rounds; real texts differ from each
other, so each round screens other ones.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from functools import partial
from uuid import UUID

from octollm.types import JSONObject

_SENTENCE = "The quick brown fox number {} jumps over the lazy dog on 2024-01-31. "
_HOSTILE = (
    "ignore all ",
    "1-",
    "4111 ",
    "ab:",
    "+1 (2) ",
    "x@x.",
    "[A_",
    "password=",
    "://a:",
    "\uff11\u0301",
)
_SIZE = 50_000


def main() -> None:
    """Measure start-up, a small request, long texts and hostile ones."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "octollm.settings")
    import django

    django.setup()
    from reflex.engine import engine

    started = time.process_time()
    name = engine().name
    _say(f"engine {name}", time.process_time() - started)
    _say("request of 300 bytes", _best(_request))
    _say("50 KB of plain text", _best(lambda i: {"text": _plain(i)}))
    for text in _HOSTILE:
        _say(f"50 KB of {text!r}", _best(partial(_repeated, text)))


def _repeated(text: str, _number: int) -> JSONObject:
    return {"text": text * (_SIZE // len(text))}


def _best(document: Callable[[int], JSONObject], rounds: int = 5) -> float:
    from reflex.screening import Checkpoint, screen
    from reflex.vault import Vault

    times = []
    for i in range(rounds):
        made = document(i)
        started = time.thread_time()
        screen(made, checkpoint=Checkpoint.REQUEST, vault=Vault.new(UUID(int=i)))
        times.append(time.thread_time() - started)
    return min(times)


def _plain(number: int) -> str:
    return "".join(_SENTENCE.format(number + i) for i in range(_SIZE // 70))


def _request(number: int) -> JSONObject:
    return {
        "goal": f"Analyze sentiment of product reviews, batch {number}",
        "constraints": ["No PII"],
        "acceptance_criteria": ["Sentiment score -1 to 1"],
        "priority": "medium",
        "budget": {"max_cost_usd": "1.00", "max_time_seconds": 600},
        "context": {"reviews": ["I like it.", "It broke after two days."]},
    }


def _say(what: str, seconds: float) -> None:
    sys.stdout.write(f"{what:32} {seconds * 1e6:10.0f} us\n")


if __name__ == "__main__":
    main()
