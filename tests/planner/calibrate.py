"""Where the thresholds of planner/calibration.toml come from.

``python -m tests.planner.calibrate`` prints precision and recall over thresholds, for
the goals of calibration_goals.toml, for those of held_out_goals.toml, which take no part
in choosing, and for those of untouched_goals.toml, which nothing was mended for; with ``--write`` it writes the file, with ``--misses`` it lists what
goes wrong at the chosen one.
"""

from __future__ import annotations

import sys
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from planner.alike import exact_form, nearness
from planner.bm25 import Index
from planner.calibration import CALIBRATION_FILE, Calibration
from planner.matching import Given, document_of, match_goal
from planner.recipe import Need, all_recipes
from planner.words import telling_roots

THRESHOLDS = tuple(round(0.20 + 0.02 * step, 2) for step in range(26))
SETS = ("calibration", "held_out", "untouched")
EVERYTHING: frozenset[Need] = frozenset(get_args(Need))
# How much of the recall a threshold may cost.
RECALL_GIVEN_UP = 0.01
# A neighbour that shares half of its words with a goal is worth showing.
EXAMPLES = 0.5


@dataclass(frozen=True, kw_only=True)
class Case:
    """One goal, the recipes it is for (none: it must be refused), and what is there."""

    goal: str
    recipes: str
    given: Given


@dataclass(frozen=True, kw_only=True)
class Figures:
    """How a threshold did."""

    right: int
    wrong: int
    refused: int
    false_accepts: int

    @property
    def recall(self) -> float:
        return self.right / (self.right + self.wrong + self.refused)

    @property
    def precision(self) -> float:
        taken = self.right + self.wrong + self.false_accepts
        return self.right / taken if taken else 1.0


def goals(name: str) -> dict[str, Any]:
    """Return the goals of one file of ``SETS``."""
    file = Path(__file__).parent / f"{name}_goals.toml"
    return tomllib.loads(file.read_text())


def cases(name: str) -> list[Case]:
    """Return each goal twice: with nothing at hand, and with what it works on.

    A goal that must be refused is tried with everything at hand that may mislead.
    """
    found: list[Case] = []
    needs = {recipe.id: recipe.needs for recipe in all_recipes()}
    for recipes, fitting in goals(name)["fitting"].items():
        there = frozenset(needs[each] for each in recipes.split("+"))
        found += _cases(fitting, recipes, there)
    for kind in ("open_ended", "reversed"):
        found += _cases(goals(name)[kind]["goals"], "", EVERYTHING)
    return found


def all_cases() -> list[Case]:
    """Return the cases of all files."""
    return [case for name in SETS for case in cases(name)]


def figures(some: Iterable[Case], threshold: float | None = None) -> Figures:
    """Count how many of some cases a threshold, or the shipped one, decides rightly."""
    counts = {"right": 0, "wrong": 0, "refused": 0, "false_accepts": 0}
    for case in some:
        got = _taken(case, threshold)
        if not case.recipes:
            counts["false_accepts"] += bool(got)
        elif got == case.recipes:
            counts["right"] += 1
        else:
            counts["wrong" if got else "refused"] += 1
    return Figures(**counts)


def chosen() -> Calibration:
    """Return the thresholds that the calibration goals lead to.

    The middle of the thresholds that take no goal wrongly and cost no more than one in
    a hundred of the recall; for memory the nearness that every pair of goals that want
    the same reaches.
    """
    some = cases("calibration")
    every = {threshold: figures(some, threshold) for threshold in THRESHOLDS}
    safe = {t: each.recall for t, each in every.items() if not each.false_accepts}
    enough = max(safe.values()) - RECALL_GIVEN_UP
    good = [threshold for threshold, recall in safe.items() if recall >= enough]
    least = min(near for near, _, is_same in pairs() if is_same)
    return Calibration(
        recipes=round((good[0] + good[-1]) / 2, 2),
        memory=int(least * 100) / 100,
        examples=EXAMPLES,
    )


def pairs() -> list[tuple[float, bool, bool]]:
    """Return for each pair how near it is, whether it is found the same, and is."""
    return [
        (nearness(goal, [earlier])[0], exact_form(goal) == exact_form(earlier), is_same)
        for group in goals("calibration")["pairs"]
        for is_same in [group["same"]]
        for earlier, goal in group["goals"]
    ]


def _cases(some: Sequence[str], recipes: str, there: frozenset[Need]) -> list[Case]:
    return [
        Case(goal=goal, recipes=recipes, given=Given(needs=needs))
        for needs in (frozenset[Need](), there)
        for goal in some
    ]


def _taken(case: Case, threshold: float | None) -> str:
    match = match_goal(case.goal, given=case.given, threshold=threshold)
    return "+".join(recipe.id for recipe in match.recipes)


def _alone(some: Sequence[Case]) -> str:
    """Return how BM25 does without phrases, parts and words that rule recipes out."""
    index = Index(document_of(recipe) for recipe in all_recipes())
    best = [(max(index.shares(telling_roots(c.goal))), c) for c in some]
    least = max(score for score, case in best if not case.recipes)
    single = [(score, case) for score, case in best if case.recipes]
    over = sum(score > least for score, _ in single)
    return f"{over} of {len(single)} fitting goals stand above every other"


def _table(out: Any) -> None:
    sets = {name: cases(name) for name in SETS}
    out.write("threshold  " + "".join(f"{name:<48}" for name in sets) + "\n")
    for threshold in THRESHOLDS:
        out.write(f"{threshold:<11}")
        for some in sets.values():
            each = figures(some, threshold)
            shown = (
                f"precision {each.precision:.3f} recall {each.recall:.3f} "
                f"wrong {each.wrong} accepted {each.false_accepts}"
            )
            out.write(f"{shown:<48}")
        out.write("\n")
    for name, some in sets.items():
        out.write(f"BM25 alone, {name}: {_alone(some)}\n")


def _pairs_table(out: Any) -> None:
    every = pairs()
    for threshold in (0.5, 0.7, 0.8, 0.9, 1.0):
        near = [pair for pair in every if pair[0] >= threshold]
        out.write(
            f"nearness {threshold}: {sum(same for _, _, same in near)} of "
            f"{sum(same for _, _, same in every)} same pairs, "
            f"{sum(not same for _, _, same in near)} of "
            f"{sum(not same for _, _, same in every)} others by BM25 alone, "
            f"{sum(found and not same for _, found, same in near)} with the same words\n"
        )


def main(arguments: Sequence[str]) -> None:
    """Print the figures, and write the file if asked to."""
    _table(sys.stdout)
    _pairs_table(sys.stdout)
    best = chosen()
    sys.stdout.write(f"chosen: {best}\n")
    if "--misses" in arguments:
        for case in all_cases():
            if (got := _taken(case, best.recipes)) != case.recipes:
                sys.stdout.write(
                    f"{case.recipes or '-'} | {got or '-'} | {case.goal}\n"
                )
    if "--write" in arguments:
        lines = (f"{name} = {value}\n" for name, value in best)
        CALIBRATION_FILE.write_text(
            "# Written by: python -m tests.planner.calibrate --write\n" + "".join(lines)
        )


if __name__ == "__main__":
    main(sys.argv[1:])
