"""Kill everything at random while tasks run; show that nothing is lost or done twice.

``make chaos [ARGS="--seed 7 --report chaos.md"]``, which is
``python -m tests.chaos.run``. Private engines on unix sockets, a web server and two
workers on the loopback. All that happens is made from the seed; how it interleaves is
the machine's. Ends with 1 when an invariant is broken, leaves no process and no file
but the report and the logs that were asked for.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
from pathlib import Path

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"

import django


def main() -> int:
    """Run, print and write the report; return the exit code."""
    options = _options()
    django.setup()
    from tests.chaos.report import render
    from tests.chaos.scene import play
    from tests.chaos.stage import stop_in_order

    stop_in_order()
    outcome = play(options, say=lambda text: print(text, file=sys.stderr, flush=True))
    text = render(outcome)
    print(text)
    if options.report:
        options.report.write_text(text)
    return 0 if outcome.holds else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--tasks", type=int, default=600)
    parser.add_argument(
        "--seconds", type=float, default=400, help="for submitting them"
    )
    parser.add_argument(
        "--every", type=float, default=5.0, help="seconds between two strikes"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--report", type=Path, help="also write the report here")
    parser.add_argument("--logs", type=Path, help="keep the processes' logs here")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
