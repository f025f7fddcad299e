"""Score planning: ``python -m tests.evaluation.planner`` or ``make eval-planner``.

Without a configured model the recipes are scored, with one the model: set
``OCTOLLM_LLM_BASE_URL``, ``OCTOLLM_LLM_MODEL`` and the others in the environment.
Starts private engines: goals may be about ingested documents.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
# The settings of tests drop those of a model unless somebody asks for one.
os.environ["OCTOLLM_TEST_LIVE"] = "1"

import django
from django.test.utils import override_settings, setup_databases, teardown_databases

if TYPE_CHECKING:
    from tests.evaluation.trial import Source, Trial


def main() -> None:
    """Start the engines, try every goal, print the table."""
    options = _options()
    django.setup()
    from tests.engines import running_engines
    from tests.evaluation.report import failures, report, table

    with running_engines():
        databases = setup_databases(verbosity=0, interactive=False)
        try:
            source = options.source or _default_source()
            trials = _trials(source, options)
        finally:
            teardown_databases(databases, verbosity=0)
    shown = report(trials, source)
    shown["about"] = _about(source, options)
    _say(f"{shown['about']}\n\n{table(shown)}\n")
    for line in failures(shown):
        _say(f"not as expected: {line}")
    if options.json:
        options.json.write_text(json.dumps(shown, indent=1, ensure_ascii=False))


def _trials(source: Source, options: argparse.Namespace) -> list[Trial]:
    from tests.evaluation.catalogue import POLICY, evaluation_catalogue
    from tests.evaluation.goals import all_goals
    from tests.evaluation.trial import try_goal

    arms = evaluation_catalogue()
    goals = [goal for goal in all_goals() if options.kind in (None, goal.kind)]
    with override_settings(OCTOLLM_PLAN_POLICY=POLICY):
        # What is read or made once would count against the first goal.
        try_goal(goals[0], source="recipes", catalogue=arms)
        return [
            try_goal(goal, source=source, catalogue=arms, execute=options.execute)
            for _ in range(options.runs)
            for goal in goals
        ]


def _default_source() -> Source:
    from arms import llm

    return "model" if llm.is_configured() else "recipes"


def _about(source: Source, options: argparse.Namespace) -> str:
    from django.conf import settings

    from planner.prompts import PROMPT_VERSION

    if source == "recipes":
        return f"recipes, {options.runs} run(s)"
    model = settings.OCTOLLM_LLM_MODEL
    return f"model {model}, prompt {PROMPT_VERSION}, {options.runs} run(s)"


def _say(text: Any) -> None:
    sys.stdout.write(f"{text}\n")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", choices=("recipes", "model"))
    parser.add_argument("--runs", type=int, default=1, help="tries of each goal")
    parser.add_argument("--kind", help="only goals of this kind")
    parser.add_argument("--json", type=Path, help="write everything there")
    parser.add_argument(
        "--execute",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="run the plans whose arms run in this process",
    )
    return parser.parse_args()


if __name__ == "__main__":
    main()
