"""``octollm arm check``: it passes arms that keep the contract, and finds each fault."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from arms.check_kit import Asked, Finding, check_arm
from arms.example_input import example_of, misfit_of
from arms.services.analyst.capabilities import SPEC as ANALYST
from arms.services.judge.capabilities import SPEC as JUDGE
from arms.services.retriever.capabilities import SPEC as RETRIEVER
from octollm.types import JSONObject
from planner.capabilities import SPEC as PLANNER
from tests.arm_process import ArmProcess
from tests.arm_server import ArmServer, Ways

TOKEN = "sesame-42"
ROOT = Path(__file__).parents[2]


@contextmanager
def checked(
    tmp_path: Path, *, given: object = None, **ways: object
) -> Iterator[dict[str, Finding]]:
    with ArmServer(tmp_path / "arm.sqlite", ways=Ways(**ways)) as arm:  # type: ignore[arg-type]  # given as words
        asked = Asked(url=arm.url, token=str(ways.get("token", "")), input=given)  # type: ignore[arg-type]  # likewise
        yield {finding.name: finding for finding in check_arm(asked)}


def failed(found: dict[str, Finding]) -> set[str]:
    return {name for name, each in found.items() if each.outcome == "failed"}


def test_an_arm_that_keeps_the_contract_passes_every_check(tmp_path: Path) -> None:
    with checked(tmp_path, token=TOKEN) as found:
        assert failed(found) == set()
        skipped = {n for n, each in found.items() if each.outcome == "skipped"}
        # Its schema allows every object.
        assert skipped == {"wrong_input"}
        assert all(each.means for each in found.values())


def test_an_arm_without_a_store_is_not_held_to_one(tmp_path: Path) -> None:
    with checked(tmp_path, has_store=False, is_repeatable=True) as found:
        assert failed(found) == set()
        for name in ("repeat", "recall", "unknown", "at_once", "no_token"):
            assert found[name].outcome == "skipped", name


def test_an_arm_that_works_on_after_202_passes(tmp_path: Path) -> None:
    with checked(tmp_path, given={"does": "background", "seconds": 0.2}) as found:
        assert failed(found) == set()


@pytest.mark.parametrize(
    ("does", "broken"),
    [
        ("babble", {"execute"}),
        ("fail", {"execute"}),
        ("lose_reply", {"execute", "late"}),
        ("flood", {"execute", "late"}),
        ("refuse", {"execute"}),
        # The second time something else than the first.
        (["answer", "refuse"], {"repeat", "at_once"}),
    ],
)
def test_a_fault_fails_the_check_of_it(
    tmp_path: Path, does: object, broken: set[str]
) -> None:
    with checked(tmp_path, given={"does": does}) as found:
        assert failed(found) == broken


def test_an_arm_that_takes_any_token_is_found_out(tmp_path: Path) -> None:
    with ArmServer(tmp_path / "arm.sqlite") as arm:
        found = {f.name: f for f in check_arm(Asked(url=arm.url, token="unwanted"))}

    assert failed(found) == {"no_token"}


def test_an_arm_that_claims_a_store_it_has_not_is_found_out(tmp_path: Path) -> None:
    class Claiming(Ways):
        def entry(self) -> dict[str, Any]:
            return super().entry() | {"has_store": True}

    ways = Claiming(has_store=False)
    with ArmServer(tmp_path / "arm.sqlite", ways=ways) as arm:
        found = {f.name: f for f in check_arm(Asked(url=arm.url))}

    assert "recall" in failed(found)


def test_an_entry_with_a_wrong_schema_stops_what_depends_on_it(tmp_path: Path) -> None:
    class Wrong(Ways):
        def entry(self) -> dict[str, Any]:
            shown = super().entry()
            shown["capabilities"][0]["input_schema"] = {"type": "strange"}
            return shown

    with ArmServer(tmp_path / "arm.sqlite", ways=Wrong()) as arm:
        found = {f.name: f for f in check_arm(Asked(url=arm.url))}

    assert failed(found) == {"entry"}
    assert "input_schema" in found["entry"].detail
    assert found["execute"].outcome == "skipped"


def test_the_command_prints_a_table_and_fails_for_a_faulty_arm(tmp_path: Path) -> None:
    # Neither a database nor keys: an author has none.
    kept = {k: v for k, v in os.environ.items() if not k.startswith("OCTOLLM_")}
    kept |= {"OCTOLLM_DATA_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)}
    del kept["DJANGO_SETTINGS_MODULE"]
    command = [sys.executable, "-m", "octollm", "arm", "check"]

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, *words], env=kept, capture_output=True, text=True, check=False
        )

    with ArmProcess(tmp_path, "--token", TOKEN) as arm:
        good = run(arm.url, "--token", TOKEN)
        bad = run(arm.url, "--token", "wrong", "--json")

    assert good.returncode == 0, good.stderr
    assert "0 failed" in good.stdout
    assert "ok      recall" in good.stdout
    assert bad.returncode == 1
    listed = {each["name"]: each["outcome"] for each in json.loads(bad.stdout)}
    assert (listed["entry"], listed["health"]) == ("failed", "passed")


@pytest.mark.parametrize("spec", [ANALYST, JUDGE, RETRIEVER, PLANNER])
def test_examples_are_made_for_the_schemas_of_our_own_arms(spec) -> None:
    for capability in spec.capabilities:
        schema = dict(capability.input_schema)
        assert example_of(schema) is not None, capability.name
        assert misfit_of(schema) is not None, capability.name


def test_an_example_follows_references_branches_and_bounds() -> None:
    schema: JSONObject = {
        "type": "object",
        "required": ["a", "b", "c", "d"],
        "properties": {
            "a": {"$ref": "#/$defs/small"},
            "b": {"anyOf": [{"type": "array", "items": {"enum": ["x"]}}]},
            "c": {"type": "string", "minLength": 80},
            "d": {"type": "string", "format": "uuid"},
        },
        "$defs": {"small": {"type": "number", "minimum": 3, "maximum": 4}},
    }

    made = example_of(schema)

    assert made is not None
    assert (made["a"], made["b"]) == (3, ["x"])


def test_a_schema_that_nobody_can_guess_has_no_example() -> None:
    schema: JSONObject = {
        "type": "object",
        "required": ["a"],
        "properties": {"a": {"type": "string", "pattern": "^QX-[0-9]{9}$"}},
    }

    assert example_of(schema) is None
