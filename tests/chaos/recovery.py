"""Kill workers under production settings; print when others went on with their steps.

``make chaos-recovery [ARGS="--kills 20"]``, which is
``python -m tests.chaos.recovery``. Several workers hold steps that wait at a gate. One
worker after another is killed and replaced at once; a step that it held counts from
the kill until it is started again, and may end then. Ends with 1 when of 100 kills 95
are not recovered from within the target, or an invariant is broken.
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
    from tests.chaos.drill import Drill
    from tests.chaos.drill_report import is_good, render
    from tests.chaos.invariants import check_all
    from tests.chaos.stage import stage, stop_in_order

    stop_in_order()
    # No setting is made shorter, and fsync is on.
    with stage(
        environment={}, workers=options.workers, logs=options.logs, postgres_options=()
    ) as running:
        drill = Drill(
            stage=running,
            seed=options.seed,
            kill_count=options.kills,
            held=2 * options.workers,
            gap_s=(options.every / 2, options.every * 3 / 2),
            say=lambda text: print(text, file=sys.stderr, flush=True),
        )
        drill.run()
        findings = check_all(drill.task_ids)
        text = render(drill.kills, findings, options)
        code = 0 if is_good(drill.kills, findings) else 1
    print(text)
    if options.report:
        options.report.write_text(text)
    return code


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument(
        "--every", type=float, default=14.0, help="seconds between two kills"
    )
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--report", type=Path, help="also write the report here")
    parser.add_argument("--logs", type=Path, help="keep the processes' logs here")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
