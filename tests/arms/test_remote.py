"""Arms elsewhere in the catalogue: from the settings and what workers wrote down."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rest_framework.test import APIClient

from arms import checks, health, registry
from arms.entries import read_entry
from arms.registry_models import ArmInstance, RegisteredArm
from octollm.access.keys import create_key
from octollm.errors import ArmError, ArmUnavailableError
from tests.arm_server import ArmServer, Ways
from tests.probes import probe_until_well

pytestmark = pytest.mark.django_db
ENTRY = Ways().entry()


@pytest.fixture(autouse=True)
def _nothing_known_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(health, "_checked", {})
    registry.forget()
    yield
    registry.forget()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ArmServer]:
    with ArmServer(tmp_path / "arm.sqlite", ways=Ways(has_store=False)) as running:
        yield running


@pytest.fixture
def known(server: ArmServer, settings: Any) -> ArmServer:
    """Return an arm whose entry has been fetched."""
    name_in_settings(settings, server.url)
    probe_until_well()
    return server


def name_in_settings(settings: Any, url: str, **more: Any) -> None:
    settings.OCTOLLM_REMOTE_ARMS = [{"name": "remote", "url": url, **more}]


def entry(**changes: Any) -> bytes:
    return json.dumps(ENTRY | changes).encode()


def test_fetched_arm_is_in_the_catalogue_by_name(known: ArmServer):
    names = [spec.name for spec in registry.catalogue()]

    assert "remote" in names
    assert names == sorted(names)
    assert registry.get_arm("remote").spec.capability("work") is not None


def test_arm_that_nobody_has_reached_is_said_to_be_unreached(settings: Any):
    name_in_settings(settings, "http://127.0.0.1:9")

    probe_until_well()

    assert "remote" not in [spec.name for spec in registry.catalogue()]
    with pytest.raises(ArmUnavailableError, match="not been reached"):
        registry.get_arm("remote")


def test_arm_that_is_away_stays_in_the_catalogue_and_keeps_nobody_waiting(
    known: ArmServer,
):
    known.__exit__()
    registry.forget()
    ArmInstance.objects.update(checked_at=None)
    probe_until_well()

    began = time.monotonic()
    names = [spec.name for spec in registry.catalogue()]

    assert "remote" in names
    assert time.monotonic() - began < 0.5


def test_process_reads_the_tables_once_in_a_while(
    known: ArmServer, django_assert_num_queries: Any
):
    # Where they run, and what they say of themselves.
    with django_assert_num_queries(2):
        for _ in range(20):
            registry.catalogue()


def test_arm_that_moved_is_not_taken_for_the_one_before(
    known: ArmServer, settings: Any
):
    name_in_settings(settings, "http://127.0.0.1:9")
    registry.forget()

    assert registry.instances_of("remote") == ()


def test_row_is_written_again_only_when_the_entry_changed(
    known: ArmServer, settings: Any
):
    before = RegisteredArm.objects.get(pk="remote").updated_at

    probe_until_well()
    same = RegisteredArm.objects.get(pk="remote").updated_at
    known.ways = replace(known.ways, version="2")
    probe_until_well()
    after = RegisteredArm.objects.get(pk="remote")

    assert same == before
    assert after.updated_at > before
    assert after.version == ArmInstance.objects.get(arm_id="remote").version == "2"


def test_arm_sees_what_it_asks_for_as_far_as_the_operator_allows(
    known: ArmServer, settings: Any
):
    assert registry.get_arm("remote").spec.sees == frozenset()

    name_in_settings(settings, known.url, sees=["EMAIL", "IBAN"])
    registry.forget()

    assert registry.get_arm("remote").spec.sees == {"EMAIL"}


def test_catalogue_says_what_a_crash_makes_of_a_call(known: ArmServer):
    _, token = create_key(owner_name="caller", name="tests")
    client = APIClient()
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {token}")

    shown = {arm["name"]: arm for arm in client.get("/arms").json()}

    assert shown["remote"]["on_crash"] == "at least once on a crash"
    assert shown["gate"]["on_crash"] == "answered from its store"
    assert shown["remote"]["health"]["source"] == "probe"
    assert shown["remote"]["health"]["state"] == "healthy"
    assert shown["remote"]["instances"][0]["location"] == known.url


@pytest.mark.parametrize(
    "text",
    [
        b"<html>Sign in</html>",
        entry(name="other"),
        entry(capabilities=[]),
        entry(queue="third"),
        entry(capabilities=[ENTRY["capabilities"][0] | {"input_schema": {"type": 7}}]),
        entry(capabilities=[ENTRY["capabilities"][0] | {"seconds": -1}]),
    ],
    ids=["html", "name", "no capability", "queue", "schema", "seconds"],
)
def test_entry_that_is_none_is_refused(text: bytes):
    with pytest.raises(ArmError):
        read_entry(text, name="remote")


def test_arm_that_is_older_than_the_contract_is_not_taken(monkeypatch):
    monkeypatch.setattr("arms.entries.CONTRACT_VERSION", 3)

    with pytest.raises(ArmError, match="knows the contract 2; 3 is needed"):
        read_entry(entry(contract_version=2), name="remote")
    assert read_entry(entry(contract_version=3), name="remote").name == "remote"


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        (None, "not a JSON list"),
        ([{"name": "remote", "url": "http://u:secret@h"}], "must not hold"),
        ([{"name": "remote", "url": "ftp://h"}], "http:// or https://"),
        ([{"name": "Remote", "url": "http://h"}], "name:"),
        ([{"name": "r", "url": "http://h", "token_env": "NOT_SET"}], "not set"),
        ([{"name": "r", "url": "http://h"}] * 2, "“r” is named twice"),
        ([{"name": "r", "url": "http://h", "tokn": "secret"}], "tokn"),
    ],
)
def test_mistake_in_the_settings_is_found_and_not_repeated(
    settings: Any, setting: Any, told: str
):
    settings.OCTOLLM_REMOTE_ARMS = setting

    (found,) = checks.check_remote_arms()

    assert (found.id, told in found.msg) == ("arms.E004", True)
    assert "secret" not in found.msg


def test_arm_in_process_comes_before_one_elsewhere(settings: Any):
    settings.OCTOLLM_REMOTE_ARMS = [{"name": "gate", "url": "http://127.0.0.1:9"}]

    assert [each.is_here for each in registry.instances_of("gate")] == [True]
