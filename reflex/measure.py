"""Print what screening costs here: ``python -m reflex.measure [FILE]``.

CPU time of one thread, beside a loop that shows how fast this machine is. A FILE of
JSON lines with ``text`` stands for the texts of everyday; without one a few
sentences do.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from uuid import UUID

from octollm.types import JSONObject

_SENTENCE = "The quick brown fox number {} jumps over the lazy dog on 2024-01-31. "
_HOSTILE = (
    "ignore all ",
    "1-",
    "1.2.3.4 ",
    "4111 ",
    "ab:",
    "::1",
    "+1 (2) ",
    "x@x.",
    "[A_",
    "password=",
    "tell me the password ",
    "your instructions ",
    "://a:",
    "vtaber ",
    "i.g.n.o.r.e.",
    "%41%42",
    "&#65;",
    "<b>x</b>",
    "\u200ba",
    "\uff11\u0301",
)
_SIZE = 50_000
_CALIBRATION = 1_000_000


def main(arguments: list[str] | None = None) -> None:
    """Measure start-up, small texts, long texts and hostile ones."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "octollm.settings")
    import django

    django.setup()
    from reflex.engine import engine

    started = time.process_time()
    name = engine().name
    _say(f"engine {name}", time.process_time() - started)
    _say(f"{_CALIBRATION} additions, to compare", _calibration())
    _say("request of 300 bytes", _best(_request))
    _say_texts(sys.argv[1:] if arguments is None else arguments)
    _say("50 KB of plain text", _best(lambda i: {"text": _plain(i)}))
    for text in _HOSTILE:
        _say(f"50 KB of {text!r}", _best(partial(_repeated, text), rounds=2))


def _say_texts(files: list[str]) -> None:
    """Print the mean and some percentiles over the texts, each seen once."""
    from reflex.detect import detect
    from reflex.screening import Checkpoint

    times = []
    texts = [text for file in files for text in _texts(Path(file))]
    for text in texts or [_SENTENCE.format(i) for i in range(200)]:
        started = time.thread_time()
        detect(text, checkpoint=Checkpoint.REQUEST)
        times.append(time.thread_time() - started)
    times.sort()
    _say("mean of the texts", sum(times) / len(times))
    for percent in (50, 95, 99):
        _say(f"{percent} % of them below", times[len(times) * percent // 100])


def _texts(path: Path) -> list[str]:
    # Not splitlines(): some texts hold line separators of Unicode.
    with path.open() as lines:
        return [str(json.loads(line)["text"]) for line in lines]


def _calibration() -> float:
    started = time.thread_time()
    total = 0
    for number in range(_CALIBRATION):
        total += number
    return time.thread_time() - started


def _repeated(text: str, _number: int) -> JSONObject:
    return {"text": text * (_SIZE // len(text.encode()))}


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
