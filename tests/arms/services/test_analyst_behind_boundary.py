"""The analyst behind the boundary: what is stored of its work holds no value."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from arms import boundary
from arms.boundary import Scopes
from arms.services.analyst.arm import AnalystArm
from octollm.ids import new_id
from reflex.screening import Checkpoint, screen
from reflex.vault import Vault, reveal
from tests.arms.services.requests import make_request, make_services

pytestmark = pytest.mark.django_db

EMAIL = "jo.doe" + "@example.com"
PHONE = "+1 202 555 " + "0143"
CARD = "4111 1111 " + "1111 1111"
TEXT = f"The kettle broke on 2024-03-05. Write to {EMAIL}, call {PHONE}, pay {CARD}."
EVERY_TYPE = frozenset({"EMAIL", "PHONE", "CARD"})


def stored(capability: str, given: dict[str, Any]) -> tuple[UUID, Any]:
    """Return the task's scope, and the output as rows keep it."""
    scope = new_id()
    screened = screen(given, checkpoint=Checkpoint.REQUEST, vault=Vault.new(scope))
    screened.save(scope_id=scope)
    request = make_request(capability, screened.document)
    reply = boundary.call(
        request.model_copy(update={"task_id": scope}),
        arm=AnalystArm(),
        services=make_services(),
        scopes=Scopes(task=scope, knowledge=new_id()),
    )
    reply.record()
    return scope, reply.reply.output


def revealed(scope: UUID, output: Any) -> str:
    """Return what the owner is shown in the end."""
    return json.dumps(reveal(output, scope_ids=(scope,), types=EVERY_TYPE))


def test_what_was_redacted_stays_so_for_the_owner_too() -> None:
    scope, output = stored("redact", {"texts": [TEXT]})

    shown = revealed(scope, output)

    assert "Write to [EMAIL], call [PHONE], pay [CARD]." in shown
    assert not [value for value in (EMAIL, PHONE, CARD) if value in shown]


@pytest.mark.parametrize(
    ("capability", "given"),
    [
        ("find", {"terms": ["doe", "0143", "kettle"]}),
        ("find", {"pattern": r"\d{3}|@\w+"}),
        ("filter_texts", {"contains": "kettle"}),
        ("frequency", {"words": 1}),
        ("keywords", {}),
        ("timeline", {}),
        ("split", {"into": "sentences"}),
        ("deduplicate_texts", {}),
    ],
)
def test_no_part_of_a_value_is_stored(capability: str, given: Any) -> None:
    _, output = stored(capability, {"texts": [TEXT]} | given)

    # What the caller looked for is named as it was asked for.
    for term in given.get("terms", ()):
        output["counts"].pop(term)
    for match in output.get("matches", ()):
        match.pop("term")
    kept = json.dumps(output)
    assert not [part for part in ("doe", "example", "555", "1111") if part in kept]


def test_rows_are_filtered_by_a_value_that_the_arm_is_not_shown() -> None:
    table = f"card,n\n{CARD},1\n5500 0000 " + "0000 0004,2"

    scope, output = stored(
        "filter_rows", {"table": table, "where": [{"column": "card", "value": CARD}]}
    )

    assert output["kept_count"] == 1
    assert CARD not in json.dumps(output)
    assert CARD in revealed(scope, output)
