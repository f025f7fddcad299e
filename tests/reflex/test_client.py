"""A reflex elsewhere: asked for spans, tried three times, and trusted with nothing."""

from __future__ import annotations

import json
import threading
import time

import pytest
from rest_framework.test import APIClient

from octollm.access.keys import create_key
from octollm.errors import CallCancelledError, ScreeningUnavailableError
from octollm.ids import new_id
from octollm.resilience import breakers
from octollm.resilience.deadline import StopToken
from octollm.resilience.models import Breaker
from octollm.types import JSONObject
from reflex import client, windows
from reflex.answers import AttackMatch, ValueMatch
from reflex.decide import Checkpoint
from reflex.found import Found
from reflex.models import Screening
from reflex.rules import load_rules
from reflex.screening import Action, Screened, is_ready, screen
from reflex.vault import Vault, reveal
from tests.reflex.remote import ATTACK, serving

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _short_pauses(settings, monkeypatch):
    settings.OCTOLLM_REFLEX_TIMEOUT_S = 3.0
    monkeypatch.setattr(client, "PAUSE_MIN_S", 0.01)
    monkeypatch.setattr(client, "PAUSE_MAX_S", 0.02)


@pytest.fixture
def remote(request, settings):
    with serving(*getattr(request, "param", ())) as server:
        settings.OCTOLLM_REFLEX_URL = server.url
        yield server


def script(*words: str | int | bytes) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("remote", [words], indirect=True)


def screened(
    document: JSONObject, checkpoint: Checkpoint = Checkpoint.REQUEST
) -> Screened:
    return screen(document, checkpoint=checkpoint, vault=Vault.new(new_id()))


def find(text: str) -> tuple[list[Found], str]:
    return client.find(text, checkpoint=Checkpoint.REQUEST, stop=StopToken(5.0))


# What it is asked and what becomes of it -----------------------------------------------
def test_remote_finds_and_the_vault_stays_here(remote):
    scope = new_id()

    outcome = screen(
        {"goal": "Write to ada@example.org, 4111 1111 1111 1111."},
        checkpoint=Checkpoint.REQUEST,
        vault=Vault.new(scope),
    )
    outcome.save(scope_id=scope)

    # Theirs does not know cards, so what is concealed is what they found.
    assert outcome.document == {"goal": "Write to [EMAIL_1], 4111 1111 1111 1111."}
    shown = reveal("[EMAIL_1]", scope_ids=[scope], types=None)
    assert shown == "ada@example.org"
    assert Screening.objects.get(scope_id=scope).ruleset_version == "theirs-1"


def test_attack_that_remote_finds_blocks(remote):
    outcome = screened({"goal": ATTACK})

    assert outcome.is_blocked
    assert outcome.rule_ids == ("theirs.order",)
    assert outcome.families == ("orders",)


def test_it_is_told_checkpoint_and_token(remote, settings):
    settings.OCTOLLM_REFLEX_TOKEN = "a-token-of-theirs"

    screened({"text": "x"}, Checkpoint.TOOL_OUTPUT)

    (request,) = remote.requests
    assert (request["path"], request["checkpoint"]) == ("/process", "tool_output")
    assert remote.headers["authorization"] == "Bearer a-token-of-theirs"


def test_blocking_turned_off_asks_nobody(settings):
    with serving(500) as server:
        settings.OCTOLLM_REFLEX_URL = server.url
        settings.OCTOLLM_REFLEX_ENABLED = False

        outcome = screened({"goal": f"{ATTACK} a@b.co"})

        assert server.requests == []
    assert str(outcome.document["goal"]).endswith("[EMAIL_1]")


def test_half_a_surrogate_pair_keeps_its_place(remote):
    outcome = screened({"a": "\ud83d ada@example.org \ude00"})

    assert outcome.document == {"a": "\ud83d [EMAIL_1] \ude00"}


def test_every_rule_of_ours_could_be_sent():
    place = {"start": 0, "end": 1}
    for rule in load_rules().rules:
        named = place | {"rule": rule.id, "severity": rule.severity}
        if rule.is_value:
            ValueMatch.model_validate(named | {"type": rule.type})
        else:
            AttackMatch.model_validate(named | {"family": rule.family})


# Long texts ----------------------------------------------------------------------------
@pytest.mark.parametrize("place", [0, 94_995, 99_990, 100_000, 189_995, 240_000])
def test_long_text_is_asked_in_parts_that_overlap(remote, place):
    text = "x" * place + " ada@example.org " + "y" * (250_000 - place)

    found, version = find(text)

    assert [(f.start, f.end) for f in found] == [(place + 1, place + 16)]
    assert version == "theirs-1"
    assert all(len(request["text"]) <= windows.MAX_TEXT for request in remote.requests)


def test_parts_end_between_the_texts_of_a_document(remote):
    texts = [
        "x" * 60_000 + "ada@example.org",
        "y" * 70_000,
        "ada@example.org",
    ]

    outcome = screened({"texts": [*texts]})

    assert [len(request["text"]) for request in remote.requests] == [
        len("texts") + 1 + len(texts[0]) + 1,
        len(texts[1]) + 1 + len(texts[2]) + 1,
    ]
    assert outcome.document == {
        "texts": ["x" * 60_000 + "[EMAIL_1]", "y" * 70_000, "[EMAIL_1]"]
    }


# Failures ------------------------------------------------------------------------------
@script(500, "close", "answer")
def test_two_failures_are_made_good_by_the_third_try(remote):
    assert screened({"goal": ATTACK}).is_blocked
    assert len(remote.requests) == 3
    assert Breaker.objects.get(name="reflex").failures == 0


RUBBISH = [
    b"",
    b"<html>",
    b"[]",
    b"{}",
    b'{"pii_matches": [], "injection_matches": 7}',
    b'{"pii_matches": [{"type": "EMAIL", "start": 0, "end": 999, "rule": "r"}],'
    b' "injection_matches": []}',
    b'{"pii_matches": [{"type": "EMAIL", "start": 3, "end": 3, "rule": "r"}],'
    b' "injection_matches": []}',
    b'{"pii_matches": [{"type": "e] [X_1", "start": 0, "end": 3, "rule": "r"}],'
    b' "injection_matches": []}',
    b'{"pii_matches": [], "injection_matches": [{"family": "f", "severity": "dire",'
    b' "start": 0, "end": 1, "rule": "r"}]}',
    b'{"a": ' * 5_000,
    b'"' + b"x" * (client.MAX_ANSWER_BYTES + 1) + b'"',
]


@pytest.mark.parametrize("remote", [[r] for r in RUBBISH], indirect=True)
def test_rubbish_is_a_failure_and_nothing_passes(remote):
    with pytest.raises(ScreeningUnavailableError) as caught:
        screened({"goal": "hello"})

    assert len(remote.requests) == client.ATTEMPTS
    assert "x" * 20 not in str(caught.value)


@script(
    json.dumps(
        {
            "pii_matches": [
                {"type": "EMAIL", "start": 9, "end": 15, "rule": "a"},
                {"type": "PHONE", "start": 5, "end": 12, "rule": "b"},
            ],
            "injection_matches": [],
        }
    ).encode()
)
def test_values_that_overlap_are_concealed_as_one(remote):
    outcome = screened({"goal": "0123456789abcdef"})

    assert outcome.document == {"goal": "[PHONE_1]abcdef"}


@script("hang")
def test_hung_remote_ends_with_its_deadline(remote, settings):
    settings.OCTOLLM_REFLEX_TIMEOUT_S = 0.9
    started = time.monotonic()

    with pytest.raises(ScreeningUnavailableError):
        screened({"goal": "hello"})

    assert 0.3 <= time.monotonic() - started < 3
    assert 1 <= len(remote.requests) <= client.ATTEMPTS


@pytest.mark.parametrize("remote", [[400], [401], [404], [413]], indirect=True)
def test_refusal_is_not_tried_again_and_opens_no_breaker(remote):
    for _ in range(breakers.FAILURES + 1):
        with pytest.raises(ScreeningUnavailableError, match="refuses our requests"):
            screened({"goal": "hello"})

    assert len(remote.requests) == breakers.FAILURES + 1
    assert not Breaker.objects.filter(name="reflex").exclude(state="closed").exists()


@script(429)
def test_too_many_requests_holds_everybody_off(remote):
    with pytest.raises(ScreeningUnavailableError) as caught:
        screened({"goal": "hello"})
    with pytest.raises(ScreeningUnavailableError):
        screened({"goal": "hello"})

    assert len(remote.requests) == 1
    assert caught.value.retry_after_s == 7


@script(503)
def test_five_failures_open_the_breaker_for_all(remote):
    for _ in range(2):
        with pytest.raises(ScreeningUnavailableError):
            screened({"goal": "hello"})
    asked = len(remote.requests)

    with pytest.raises(ScreeningUnavailableError) as caught:
        screened({"goal": "hello"})

    assert asked == breakers.FAILURES
    assert len(remote.requests) == asked
    assert Breaker.objects.get(name="reflex").state == "open"
    assert 50 < (caught.value.retry_after_s or 0) <= 66


def open_breaker(*, is_due: bool) -> None:
    sign = "-" if is_due else "+"
    breakers._write(
        "INSERT INTO breakers (name, state, failures, open_until, updated_at) VALUES "
        f"('reflex', 'open', 0, clock_timestamp() {sign} interval '30 s', now())"
    )


def test_probe_that_succeeds_closes_the_breaker(remote):
    open_breaker(is_due=True)

    assert screened({"goal": ATTACK}).is_blocked

    assert Breaker.objects.get(name="reflex").state == "closed"


@script(500)
def test_probe_that_fails_opens_it_again_at_once(remote):
    open_breaker(is_due=True)

    with pytest.raises(ScreeningUnavailableError):
        screened({"goal": "hello"})

    assert len(remote.requests) == 1
    assert Breaker.objects.get(name="reflex").state == "open"


def test_address_where_nobody_listens_is_unavailable(settings):
    settings.OCTOLLM_REFLEX_URL = "http://127.0.0.1:1"

    with pytest.raises(ScreeningUnavailableError):
        screened({"goal": "hello"})


@script("hang")
def test_cancelled_call_stops_at_once(remote):
    stop = StopToken(30.0)
    outcome: list[BaseException] = []

    def run():
        try:
            client._once(b'{"text": "x"}', "x", stop)
        except BaseException as error:  # noqa: BLE001
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    while not remote.requests:
        assert thread.is_alive()
    stop.cancel()
    thread.join(5)

    assert [type(error) for error in outcome] == [CallCancelledError]


@pytest.mark.parametrize(("number", "most"), [(1, 2.0), (2, 4.0), (3, 5.0), (9, 5.0)])
def test_pauses_grow_from_one_second_to_five(monkeypatch, number, most):
    monkeypatch.setattr(client, "PAUSE_MIN_S", 1.0)
    monkeypatch.setattr(client, "PAUSE_MAX_S", 5.0)

    drawn = [client._pause_s(number) for _ in range(200)]

    assert min(drawn) >= 1.0
    assert max(drawn) <= most
    assert max(drawn) - min(drawn) > (most - 1) / 2


# What others see -----------------------------------------------------------------------
def test_submission_is_refused_while_remote_is_away(settings):
    settings.OCTOLLM_REFLEX_URL = "http://127.0.0.1:1"
    _, token = create_key(owner_name="o", name="t")
    api = APIClient(headers={"Authorization": f"Bearer {token}"})

    answer = api.post("/submit", {"goal": "Summarise: good."}, format="json")

    assert answer.status_code == 503
    assert answer.json()["code"] == "screening_unavailable"
    assert int(answer.headers["Retry-After"]) >= 1
    assert not Screening.objects.exists()


def test_readiness_is_the_remotes_too(remote):
    assert is_ready()[0]
    assert "remote reflex" in is_ready()[1]

    remote.readiness = (503, b'{"status": "not_ready"}')
    assert is_ready() == (False, "the remote reflex is not ready")

    remote.readiness = (200, b"<html>")
    assert is_ready() == (False, "what answers at OCTOLLM_REFLEX_URL is no reflex")


def test_remote_that_is_away_is_not_ready(settings):
    settings.OCTOLLM_REFLEX_URL = "http://127.0.0.1:1"

    assert is_ready() == (False, "the remote reflex cannot be reached")


def test_flag_of_remote_taints(remote):
    outcome = screened({"text": ATTACK}, Checkpoint.DOCUMENT)

    assert (outcome.action, outcome.taint) == (Action.FLAG, ("orders",))
