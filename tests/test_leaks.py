"""The detector that guards every prompt of the suite, and the fakes that use it."""

from __future__ import annotations

import json

import httpx2
import pytest

from tests import leaks
from tests.fakes import FakeModel
from tests.leaks import LeakError, leaks_in, watch

ADDRESS = "ann" + "@example.com"
PRIVATE = {
    "e-mail": ADDRESS,
    "card": "4111 1111" + " 1111 1111",
    "card without spaces": "55555555" + "55554444",
    "social security number": "078-05" + "-1120",
    "IBAN": "DE89 3704 0044" + " 0532 0130 00",
    "phone": "+49 30" + " 9018 20 00",
    "AWS key": "AKIA" + "IOSFODNN7EXAMPLE",
    "GitHub token": "ghp_" + "a1B2" * 9,
    "provider key": "sk-" + "a1B2" * 8,
    "private key": "-----BEGIN RSA" + " PRIVATE KEY-----",
    "web token": "eyJhbGciOi"
    + "JIUzI1NiJ9.eyJzdWIiOi"
    + "IxMjM0NTY3ODkwIn0.abcdefghij",
    "address with a password": "redis://user" + ":hunter2@cache:6379",
}
HARMLESS = [
    "[EMAIL_1] and [CARD_2] stand for what is private",
    "a score of 0.30000000000000004 of 5555555555555",
    "2026-11-23T09:23:32+00:00, 1700000000000000",
    "3f2504e0-4f89-41d3-9a0c-0305e82c3301",
    "steps.1.texts, 5 keywords, -1 to 1, 10-20-30",
    "http://127.0.0.1:8080/v1 @property 100 + 50 + 25",
    "order 4111111111111112",
]


@pytest.mark.parametrize("text", PRIVATE.values(), ids=list(PRIVATE))
def test_what_is_private_is_found(text: str) -> None:
    assert leaks_in(f"Please use {text}, thanks.")


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_harmless_is_passed_over(text: str) -> None:
    assert leaks_in(text) == []


@pytest.mark.parametrize("times", [1, 2, 3])
def test_escapes_of_json_hide_nothing(times: int) -> None:
    text = ADDRESS.replace("@", "\\u0040")
    for _ in range(times):
        text = json.dumps({"goal": text})

    assert leaks_in(text)


def test_a_watched_text_is_found() -> None:
    canary = watch("an octopus named " + "Paulina")

    assert leaks_in(json.dumps(f"She is {canary}."))


def post(model: FakeModel, content: str, **headers: str) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": content}]}
    url = f"{model.base_url}/chat/completions"
    assert httpx2.post(url, json=body, headers=headers).status_code == 200


@pytest.fixture
def own_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep what these tests leak on purpose out of the verdict on the real run."""
    monkeypatch.setattr(leaks, "_refused", [])


@pytest.mark.usefixtures("own_run")
def test_a_fake_fails_the_test_in_which_a_prompt_held_what_is_private() -> None:
    model = FakeModel()
    post(model, f"Write to {ADDRESS}")

    with pytest.raises(LeakError, match="e-mail"):
        model.stop()

    assert len(leaks.refused()) == 1


@pytest.mark.usefixtures("own_run")
def test_a_fake_that_expects_it_notes_it_and_fails_nothing() -> None:
    with FakeModel(expects_leaks=True) as model:
        post(model, f"Write to {ADDRESS}")

    assert len(model.leaks) == 1
    assert leaks.refused() == []


def test_headers_are_looked_at_but_for_the_credential() -> None:
    key = "sk-" + "a1B2" * 8
    with FakeModel(expects_leaks=True) as model:
        post(model, "hello", Authorization=f"Bearer {key}")
        assert model.leaks == []
        post(model, "hello", X_User=ADDRESS)

        assert len(model.leaks) == 1
