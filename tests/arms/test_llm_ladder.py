"""How strictly JSON is asked for: down the ladder within a call, and remembered."""

from __future__ import annotations

import json
from typing import Any

import pytest
from prometheus_client import REGISTRY

from arms import rungs
from arms.answers import Completion
from arms.llm import Message
from octollm.errors import ModelError, ModelMisconfiguredError, ModelTruncatedError
from octollm.resilience import redis_client
from tests import fakes
from tests.fakes import Answer, FakeModel
from tests.ledgers import MemoryMeter
from tests.models import SCHEMA, ask, formats

JSON = '{"n": 3}'


@pytest.fixture(autouse=True)
def _json_answers(model: FakeModel) -> None:
    model.default = fakes.completion(JSON)


def ask_for_json(meter: MemoryMeter | None = None, **options: Any) -> Completion:
    return ask(meter, json_schema=SCHEMA, **options)


def new_process() -> None:
    """Know as little as a process that has just begun."""
    rungs._known.clear()


def key_of(model: FakeModel) -> str:
    return rungs._key(model.base_url, "fake-model")


def counted(rung: str, outcome: str) -> float:
    labels = {"model": "fake-model", "rung": rung, "outcome": outcome}
    return REGISTRY.get_sample_value("octollm_llm_answers_total", labels) or 0.0


def test_the_schema_is_asked_for_strictly(model: FakeModel) -> None:
    answer = ask_for_json()

    assert answer.text == JSON
    assert (answer.provider, answer.rung) == ("default", "json_schema")
    assert model.requests[0].body["response_format"] == {
        "type": "json_schema",
        "json_schema": {"name": "reply", "schema": SCHEMA, "strict": True},
    }


REFUSALS = {
    "400": fakes.error(400, "no"),
    "415": fakes.error(415, "no"),
    "422": fakes.error(422, "extra field"),
    "404": fakes.error(404, "json_schema: no such feature"),
    "llama.cpp": fakes.error(500, "does not match the expected peg-native format"),
    "llama-cpp-python": fakes.error(500, "Input should be 'text' or 'json_object'"),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS.keys())
def test_a_refused_form_is_not_charged_and_the_next_is_asked_for(
    model: FakeModel, meter: MemoryMeter, refusal: Answer
) -> None:
    model.unsupported = {"json_schema": refusal}

    answer = ask_for_json(meter)

    assert formats(model) == ["json_schema", "json_object"]
    assert answer.rung == "json_object"
    assert meter.outcomes == ["released", "settled"]
    assert [call.rung for call in meter.calls] == ["json_schema", "json_object"]


def test_text_is_the_last_form(model: FakeModel) -> None:
    model.unsupported = dict.fromkeys(("json_schema", "json_object"), fakes.error(400))

    assert ask_for_json().rung == "text"
    assert formats(model) == ["json_schema", "json_object", None]


def test_what_a_server_takes_is_remembered_for_all_processes(model: FakeModel) -> None:
    model.unsupported = {"json_schema": fakes.error(400)}
    ask_for_json()
    new_process()

    ask_for_json()

    assert formats(model) == ["json_schema", "json_object", "json_object"]


def test_it_is_remembered_for_a_day(model: FakeModel) -> None:
    model.unsupported = {"json_schema": fakes.error(400)}
    ask_for_json()

    assert 86_000 < redis_client.client().ttl(key_of(model)) <= 86_400
    assert "127.0.0.1" not in key_of(model)


def test_a_refusal_for_another_reason_is_not_remembered(model: FakeModel) -> None:
    model.will(*[fakes.error(400, "the prompt is too long")] * 3)
    with pytest.raises(ModelError):
        ask_for_json()

    ask_for_json()

    assert formats(model)[3:] == ["json_schema"]


def test_without_redis_a_process_remembers_for_itself(
    model: FakeModel, settings: Any
) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    model.unsupported = {"json_schema": fakes.error(400)}

    ask_for_json()
    ask_for_json()

    assert formats(model) == ["json_schema", "json_object", "json_object"]


@pytest.mark.parametrize(
    "text", ["I have no idea.", "It is {n}.", "<think>{'n': 3}</think> Three."]
)
def test_an_answer_in_plain_words_is_given_as_it_is_and_text_is_asked_for_next(
    model: FakeModel, text: str
) -> None:
    model.will(fakes.completion(text))
    before = counted("json_schema", "ignored")

    first, second = ask_for_json(), ask_for_json()

    assert first.text == text.rpartition("</think> ")[2]
    assert second.rung == "text"
    assert counted("json_schema", "ignored") == before + 1


def test_an_ignored_form_is_remembered_for_an_hour(model: FakeModel) -> None:
    model.will(fakes.completion("I have no idea."))
    ask_for_json()

    assert 3_500 < redis_client.client().ttl(key_of(model)) <= 3_600


@pytest.mark.parametrize(
    "text", ["{'n': 3,}", '```json\n{ "n": 3 }\n```', "[{}]", '{"n": 3']
)
def test_slips_are_no_ignoring(model: FakeModel, text: str) -> None:
    model.will(fakes.completion(text))

    ask_for_json()
    ask_for_json()

    assert formats(model) == ["json_schema", "json_schema"]


def test_a_cut_off_answer_says_nothing_about_the_form(model: FakeModel) -> None:
    model.will(fakes.completion("   ", finish_reason="length"))
    before = counted("json_schema", "truncated")
    with pytest.raises(ModelTruncatedError):
        ask_for_json()

    ask_for_json()

    assert formats(model) == ["json_schema", "json_schema"]
    assert counted("json_schema", "truncated") == before + 1


def test_a_retry_goes_on_where_the_ladder_stood(model: FakeModel) -> None:
    model.unsupported = {"json_schema": fakes.error(400)}
    model.will(fakes.error(503))

    ask_for_json()

    assert formats(model) == ["json_schema", "json_object", "json_object"]


def test_a_resumed_attempt_gets_an_answer_from_any_rung(
    model: FakeModel, meter: MemoryMeter
) -> None:
    model.unsupported = {"json_schema": fakes.error(400)}
    ask_for_json(meter)
    meter.next_attempt()
    new_process()

    again = ask_for_json(meter)

    assert (again.is_replayed, again.rung) == (True, "json_object")
    assert len(model.requests) == 2


@pytest.mark.parametrize(
    ("prompt", "added"), [("Count.", True), ("Count, as json.", False)]
)
def test_the_word_json_is_in_every_prompt_that_asks_for_it(
    model: FakeModel, prompt: str, *, added: bool
) -> None:
    ask_for_json(messages=[Message(role="user", content=prompt)])

    (sent,) = model.requests[0].body["messages"]
    assert sent["content"].startswith(prompt)
    assert ("JSON" in sent["content"]) is added


def test_without_a_schema_the_prompt_is_left_alone(model: FakeModel) -> None:
    ask(messages=[Message(role="user", content="Count.")])

    assert model.requests[0].body["messages"][0]["content"] == "Count."
    assert formats(model) == [None]


@pytest.mark.parametrize("parameter", ["max_tokens", "temperature"])
def test_a_parameter_that_the_entry_decides_is_told_and_is_no_refused_form(
    model: FakeModel, parameter: str
) -> None:
    body = {"error": {"message": "Unsupported.", "param": parameter, "code": "x"}}
    model.default = fakes.raw(json.dumps(body), status=400)

    with pytest.raises(ModelMisconfiguredError, match=parameter):
        ask_for_json()

    assert len(model.requests) == 1
