"""The analyst's catalogue entry against what it does."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from arms.contract import Capability
from arms.services.analyst import languages
from arms.services.analyst.arm import AnalystArm
from arms.services.analyst.capabilities import SPEC
from octollm.errors import ArmInputError, MissingInputError
from reflex.screening import find_pii
from tests.arms.services.requests import output_of

EMAIL = "jo.doe" + "@example.com"
TEXTS = [
    f"The kettle broke on 2024-03-05 after 2 days, {EMAIL} wrote. It cost $20.",
    "The kettle is great.",
]
TABLE = "day,shop,n,m\n" + "".join(
    f"2024-0{month}-01,s{month % 2},{month},{month * month}\n" for month in range(1, 8)
)
VALUES: dict[str, Any] = {
    "texts": TEXTS,
    "table": TABLE,
    "left": TABLE,
    "right": "shop,city\ns0,Rome\ns1,Oslo\n",
    "a": "one\ntwo",
    "b": "one\nthree",
    "data": {"a": [{"b": 1}]},
    "schema": {"type": "array"},
    "rules": {"broken": ["broke"]},
}
# What has to be said besides, for those that can be asked for several things.
FURTHER: dict[str, dict[str, Any]] = {
    "pivot": {"rows": "shop", "columns": "day"},
    "sort_rows": {"by": "n"},
    "filter_rows": {"where": [{"column": "shop", "value": "s1"}]},
    "find": {"terms": ["kettle"]},
    "filter_texts": {"contains": ["kettle"]},
}
ALL = pytest.mark.parametrize("offer", SPEC.capabilities, ids=lambda each: each.name)


def given_for(offer: Capability) -> dict[str, Any]:
    required: Any = offer.input_schema["required"]
    return {key: VALUES[key] for key in required} | FURTHER.get(offer.name, {})


@ALL
def test_an_input_that_fits_its_schema_gives_an_output_that_fits_its(
    offer: Capability,
) -> None:
    given = given_for(offer)
    jsonschema.validate(given, offer.input_schema)  # type: ignore[no-untyped-call]  # no stubs

    output = output_of(AnalystArm(), offer.name, given)

    assert output["method"].endswith(".")


@ALL
def test_the_same_input_gives_the_same_output(offer: Capability) -> None:
    given = given_for(offer)

    first, second = (output_of(AnalystArm(), offer.name, given) for _ in range(2))

    assert first == second


@ALL
@pytest.mark.parametrize("value", [5, True, {"x": {"y": 1}}, [5], [[1]], "\x00", -1.5])
def test_values_of_other_shapes_are_worked_on_or_refused(
    offer: Capability, value: Any
) -> None:
    given = given_for(offer)
    properties: Any = offer.input_schema["properties"]
    for key in properties:
        # Either the output fits its schema, or the arm says why there is none.
        with contextlib.suppress(ArmInputError, MissingInputError):
            output_of(AnalystArm(), offer.name, given | {key: value})


@ALL
def test_a_capability_explains_itself_and_costs_nothing(offer: Capability) -> None:
    assert offer.description.endswith(".")
    assert offer.cost_usd == 0
    assert offer.seconds > 0


@pytest.mark.parametrize("capability", ["find", "frequency", "keywords", "timeline"])
def test_parts_of_texts_hold_values_whole_or_not_at_all(capability: str) -> None:
    given = {"texts": [f"{'x ' * n}kettle {EMAIL} 2024-03-05" for n in range(120)]}

    shown = str(
        output_of(AnalystArm(), capability, given | FURTHER.get(capability, {}))
    )

    for found in reversed(find_pii(shown)):
        shown = shown[: found.start] + shown[found.end :]
    assert "doe" not in shown


def test_the_documents_name_every_capability_and_no_other() -> None:
    text = (Path(__file__).parents[3] / "docs/analyst.md").read_text()

    named = re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)

    assert sorted(named) == sorted(offer.name for offer in SPEC.capabilities)
    assert f"{len(languages.CODES)} languages" in text
