"""``octollm owners``: what an operator types about owners."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal

import pytest
from django.db import IntegrityError
from typer.testing import CliRunner, Result

from octollm.access.commands import app
from octollm.access.models import Owner
from octollm.log import configure

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _joined(monkeypatch: pytest.MonkeyPatch, settings) -> Iterator[None]:
    """Have the command find a system: the tests' own, which Django knows already."""
    monkeypatch.setenv("OCTOLLM_DATABASE_URL", "postgresql:///tests")
    yield
    # The command set up logging to the stream that its runner caught and closed.
    configure(settings.LOGGING)


def cap(owner: str, usd: str) -> Result:
    return CliRunner().invoke(app, ["owners", "cap", owner, "--monthly-usd", usd])


def test_a_cap_is_set_and_lifted() -> None:
    owner = Owner.objects.create(name="acme")

    assert cap("acme", "12.5").exit_code == 0
    owner.refresh_from_db()
    assert owner.monthly_cap_usd == Decimal("12.5")

    assert cap("acme", "none").exit_code == 0
    owner.refresh_from_db()
    assert owner.monthly_cap_usd is None


@pytest.mark.parametrize(
    ("name", "usd", "said"),
    [
        ("nobody", "1", "no such owner"),
        ("acme", "-1", "from 0"),
        ("acme", "NaN", "from 0"),
        ("acme", "1e9", "from 0"),
        ("acme", "much", "no number"),
    ],
)
def test_nonsense_is_refused_in_one_line(name: str, usd: str, said: str) -> None:
    owner = Owner.objects.create(name="acme")

    result = cap(name, usd)

    assert result.exit_code == 2
    assert said in result.stderr
    owner.refresh_from_db()
    assert owner.monthly_cap_usd is None


def test_the_database_takes_no_cap_below_nothing() -> None:
    with pytest.raises(IntegrityError):
        Owner.objects.create(name="acme", monthly_cap_usd=Decimal("-0.01"))
