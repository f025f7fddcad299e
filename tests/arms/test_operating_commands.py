"""``octollm arm list``, ``drain`` and so on: what an operator types about instances."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
import typer
from typer.testing import CliRunner, Result

from arms.operating_commands import register
from arms.registry_models import ArmInstance
from octollm.joining import who
from octollm.log import configure
from tests.instances import TOKEN, make_arm, make_instance, open_breaker, take_places

pytestmark = pytest.mark.django_db

State = ArmInstance.State
URL = "http://billing-1.internal:8090"


@pytest.fixture(autouse=True)
def _joined(monkeypatch: pytest.MonkeyPatch, settings) -> Iterator[None]:
    """Have the command find a system: the tests' own, which Django knows already."""
    monkeypatch.setenv("OCTOLLM_DATABASE_URL", "postgresql:///tests")
    yield
    # The command set up logging to the stream that its runner caught and closed.
    configure(settings.LOGGING)


def run(*words: str) -> Result:
    app = typer.Typer()
    register(app)
    return CliRunner().invoke(app, words)


def state() -> str:
    return ArmInstance.objects.get(location=URL).state


@pytest.mark.parametrize(
    ("command", "before", "after", "said"),
    [
        ("drain", State.HEALTHY, State.DRAINING, "drains"),
        ("disable", State.HEALTHY, State.DISABLED, "is disabled"),
        ("enable", State.DISABLED, State.STARTING, "is probed now"),
        ("drain", State.DRAINING, State.DRAINING, "already"),
        ("disable", State.DISABLED, State.DISABLED, "already"),
        ("enable", State.DOWN, State.DOWN, "was not set aside: down"),
    ],
)
def test_an_instance_is_set_aside_and_enabled(command, before, after, said):
    make_instance(URL, state=before)

    result = run(command, "billing", "--reason", "a new disk")

    assert result.exit_code == 0
    assert said in result.stdout
    assert state() == after


def test_who_and_why_are_in_the_log():
    make_instance(URL)

    told = run("drain", "billing", URL, "--reason", "a new disk").stderr

    assert f"draining by {who()}: a new disk" in told


@pytest.mark.parametrize("address", [URL, f"{URL}/"])
def test_of_several_instances_the_named_one_is_meant(address):
    make_instance(URL)
    make_instance("http://other:8090")

    assert run("drain", "billing", address).exit_code == 0
    assert state() == State.DRAINING
    assert ArmInstance.objects.get(location="http://other:8090").state == "healthy"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("drain", "billing"), "which one: http://billing-1"),
        (("drain", "nobody"), "no instance of an arm nobody"),
        (("drain", "billing", "http://elsewhere:1"), "is not at http://elsewhere:1"),
        (("weigh", "billing", URL, "--weight", "0"), "from 1 to 100"),
    ],
)
def test_nonsense_is_refused_in_one_line(words, said):
    make_instance(URL)
    make_instance("http://other:8090")

    result = run(*words)

    assert result.exit_code == 2
    assert said in result.stderr
    assert state() == State.HEALTHY


def test_a_weight_is_set():
    make_instance(URL)

    assert run("weigh", "billing", "--weight", "40").exit_code == 0
    assert ArmInstance.objects.get().weight == 40


def test_the_list_tells_how_each_is_and_no_token():
    make_arm(concurrency=4)
    instance = make_instance(
        URL, state=State.DOWN, detail="refused\x1b[2J", latency_ms=12.4
    )
    open_breaker(instance)
    take_places(instance, 1)

    line, listed = run("list").stdout, run("list", "--json").stdout

    said = "down  weight 10  12 ms  1 of 4 places taken  breaker open  refused[2J\n"
    assert line == f"billing  {URL}  {said}"
    (row,) = json.loads(listed)
    assert (row["arm"], row["location"], row["breaker"]) == ("billing", URL, "open")
    assert TOKEN not in line + listed
    assert instance.token not in line + listed
