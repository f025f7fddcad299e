"""``octollm ledger correct``: what an operator types when a price was wrong."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import UUID, uuid4

import pytest
from typer.testing import CliRunner, Result

from octollm.log import configure
from tasks_app.commands import app
from tasks_app.models import Charge
from tests.calls import books, call, claimed, usage

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _joined(monkeypatch: pytest.MonkeyPatch, settings) -> Iterator[None]:
    """Have the command find a system: the tests' own, which Django knows already."""
    monkeypatch.setenv("OCTOLLM_DATABASE_URL", "postgresql:///tests")
    yield
    # The command set up logging to the stream that its runner caught and closed.
    configure(settings.LOGGING)


def correct(charge_id: UUID, cost: str, reason: str = "The list was wrong.") -> Result:
    words = ["ledger", "correct", str(charge_id), "--cost-usd", cost]
    return CliRunner().invoke(app, [*words, "--reason", reason])


def test_a_charge_is_booked_anew():
    task, _, meter = claimed()
    charge_id = meter.reserve(call())
    meter.settle(charge_id, usage(), "reply")

    result = correct(charge_id, "0.25")

    assert (result.exit_code, result.stdout) == (0, "Booked at 0.250000000 USD.\n")
    assert books(task)[0] == 250_000_000
    assert Charge.objects.get().state == "corrected"


@pytest.mark.parametrize(
    ("cost", "reason", "said"),
    [
        ("a lot", "x", "no number"),
        ("-1", "x", "must be from 0"),
        ("1", "", "1 to 200"),
    ],
)
def test_nonsense_is_refused_in_one_line(cost: str, reason: str, said: str):
    task, _, meter = claimed()
    charge_id = meter.reserve(call())
    meter.settle(charge_id, usage(), "reply")

    result = correct(charge_id, cost, reason)

    assert result.exit_code == 2
    assert said in result.stderr
    assert books(task)[0] == 700_000


def test_no_charge_is_told():
    result = correct(uuid4(), "1")

    assert (result.exit_code, result.stderr) == (2, "octollm: no such charge\n")
