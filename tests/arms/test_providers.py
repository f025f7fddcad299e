"""Providers of models: how they are set, and what is said when they are set wrong."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from arms import checks
from arms.providers import Provider, dearest_price, providers_for
from octollm.errors import ModelMisconfiguredError, UnpricedModelError

KEY = "key-that-nobody-may-read"
ONE: dict[str, Any] = {
    "name": "one",
    "base_url": "http://127.0.0.1:1/v1",
    "model": "small",
}


def found(settings: Any, *entries: Any, purpose: str = "planning") -> list[Provider]:
    settings.OCTOLLM_LLM_PROVIDERS = list(entries)
    return providers_for(purpose)


def complaints(settings: Any, listed: Any) -> list[str]:
    settings.OCTOLLM_LLM_PROVIDERS = listed
    return [f"{m.id} {m.msg} {m.hint}" for m in checks.check_providers()]


def test_a_list_keeps_its_order(settings: Any) -> None:
    two = ONE | {"name": "two", "rpm": 5, "tpm": 900, "timeout_s": 7}

    first, second = found(settings, ONE, two)

    assert (first.name, second.name) == ("one", "two")
    assert first.timeout_s == settings.OCTOLLM_LLM_TIMEOUT_S
    assert (second.requests_per_minute, second.tokens_per_minute) == (5, 900)
    assert second.timeout_s == 7


def test_each_purpose_has_its_model(settings: Any) -> None:
    entry = ONE | {"models": {"default": "small", "coding": "large"}}
    del entry["model"]

    (provider,) = found(settings, entry)

    assert provider.model_for("coding") == "large"
    assert provider.model_for("judging") == "small"


def test_who_has_no_model_for_a_purpose_is_not_asked_for_it(settings: Any) -> None:
    coder = {"name": "c", "base_url": ONE["base_url"], "models": {"coding": "large"}}

    assert [each.name for each in found(settings, coder, ONE)] == ["one"]
    assert [each.name for each in found(settings, coder, purpose="coding")] == ["c"]


def test_the_single_form_is_one_provider(settings: Any) -> None:
    settings.OCTOLLM_LLM_BASE_URL = ONE["base_url"]
    settings.OCTOLLM_LLM_MODEL = "small"
    settings.OCTOLLM_LLM_MODEL_JUDGING = "large"
    settings.OCTOLLM_LLM_API_KEY = KEY

    (provider,) = providers_for("judging")

    assert (provider.name, provider.api_key) == ("default", KEY)
    assert provider.model_for("judging") == "large"
    assert provider.model_for("planning") == "small"


def test_without_settings_there_is_nobody(settings: Any) -> None:
    assert providers_for("planning") == []
    assert checks.check_providers() == []


def test_a_key_may_stand_in_a_variable_or_a_file(settings: Any, tmp_path: Path) -> None:
    kept = tmp_path / "key"
    kept.write_text(f"{KEY}\n")
    settings.OCTOLLM_LLM_KEYS = {"THEIR_KEY": KEY}
    by_variable = ONE | {"api_key_env": "THEIR_KEY"}
    by_file = ONE | {"name": "two", "api_key_file": str(kept)}

    assert [p.api_key for p in found(settings, by_variable, by_file)] == [KEY, KEY]


def test_a_key_is_not_shown_with_its_provider(settings: Any) -> None:
    assert KEY not in repr(found(settings, ONE | {"api_key": KEY}))


WRONG: dict[str, tuple[Any, str]] = {
    "no JSON": (None, "not a JSON list"),
    "no list": ({"name": "x"}, "not a JSON list"),
    "no object": (["x"], "entry 0"),
    "unknown key": ([ONE | {"modle": "x"}], "modle: Extra inputs"),
    "no model": ([{"name": "a", "base_url": "http://h/v1"}], "model or models"),
    "two models": ([ONE | {"models": {"default": "x"}}], "model or models"),
    "unknown purpose": (
        [{"name": "a", "base_url": "http://h/v1", "models": {"poetry": "x"}}],
        "models.poetry",
    ),
    "no scheme": ([ONE | {"base_url": "127.0.0.1:1/v1"}], "http:// or https://"),
    "no host": ([ONE | {"base_url": "http:///v1"}], "name a host"),
    "bad port": ([ONE | {"base_url": "http://h:x/v1"}], "is no URL"),
    "password": ([ONE | {"base_url": "http://u:" + KEY + "@h/v1"}], "must not hold"),
    "query": ([ONE | {"base_url": "http://h/v1?key=" + KEY}], "must not hold"),
    "same name": ([ONE, ONE], "two are named “one”"),
    "odd name": ([ONE | {"name": "One Two"}], "name:"),
    "two keys": ([ONE | {"api_key": KEY, "api_key_env": "X"}], "one of api_key"),
    "odd key": ([ONE | {"api_key": f"{KEY}\n"}], "is no key"),
    "no variable": ([ONE | {"api_key_env": "NOT_SET"}], "variable that is not set"),
    "no file": ([ONE | {"api_key_file": "/nonexistent"}], "cannot be read"),
    "price": ([ONE | {"price": {"input": -1, "output": 0}}], "price.input"),
    "half a price": ([ONE | {"price": {"input": 1}}], "price.output"),
    "limit": ([ONE | {"rpm": -1}], "rpm"),
    "field": ([ONE | {"max_output_field": "max"}], "max_output_field"),
}


@pytest.mark.parametrize(("listed", "said"), WRONG.values(), ids=WRONG.keys())
def test_a_mistake_is_told_at_start_with_a_hint_and_no_value(
    settings: Any, listed: Any, said: str
) -> None:
    (complaint,) = complaints(settings, listed)

    assert complaint.startswith("arms.E001 OCTOLLM_LLM_PROVIDERS")
    assert said in complaint
    assert "docs/models.md" in complaint
    assert KEY not in complaint


def test_all_mistakes_are_told_at_once(settings: Any) -> None:
    assert len(complaints(settings, [ONE | {"a": 1, "b": 2}, {}])) > 3


def test_what_cannot_be_read_is_an_error_when_it_is_asked(settings: Any) -> None:
    with pytest.raises(ModelMisconfiguredError, match="check"):
        found(settings, ONE | {"modle": "x"})


@pytest.mark.parametrize(
    ("name", "value", "found_id"),
    [
        ("OCTOLLM_LLM_BASE_URL", "http://h/v1", "arms.E002"),
        ("OCTOLLM_LLM_MODEL", "m", "arms.E002"),
        ("OCTOLLM_LLM_PRICE_INPUT", Decimal(1), "arms.E003"),
        ("OCTOLLM_LLM_PRICE_CACHED", Decimal(1), "arms.E003"),
    ],
)
def test_half_a_setting_is_found(
    settings: Any, name: str, value: Any, found_id: str
) -> None:
    setattr(settings, name, value)

    assert [each.id for each in checks.check_providers()] == [found_id]


def test_the_single_form_beside_a_list_is_told_to_be_unused(settings: Any) -> None:
    settings.OCTOLLM_LLM_MODEL = "m"

    (complaint,) = complaints(settings, [ONE])

    assert complaint.startswith("arms.W001")


def test_models_without_a_price_are_not_asked_unnoticed(settings: Any) -> None:
    settings.OCTOLLM_LLM_ALLOW_UNPRICED = True

    assert [each.id for each in checks.check_providers()] == ["arms.W002"]


def test_a_bad_address_in_the_single_form_is_found(settings: Any) -> None:
    settings.OCTOLLM_LLM_BASE_URL, settings.OCTOLLM_LLM_MODEL = "ftp://h/v1", "m"

    (message,) = checks.check_providers()

    assert message.id == "arms.E001"
    assert "OCTOLLM_LLM_*" in message.msg


def test_the_environment_is_read_at_start(tmp_path: Path) -> None:
    listed = tmp_path / "providers.json"
    listed.write_text(json.dumps([ONE | {"api_key_env": "THEIR_KEY"}]))
    script = (
        "import django; django.setup()\n"
        "from arms.providers import providers_for\n"
        "print([(p.name, p.api_key) for p in providers_for('coding')])"
    )

    printed = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ
        | {
            "DJANGO_SETTINGS_MODULE": "octollm.settings",
            "OCTOLLM_LLM_PROVIDERS_FILE": str(listed),
            "THEIR_KEY": KEY,
        },
        capture_output=True,
        text=True,
        check=True,
    ).stdout

    assert printed.strip() == str([("one", KEY)])


def worked_examples() -> list[str]:
    text = (Path(__file__).parents[2] / "docs/models.md").read_text()
    return re.findall(r"```json\n(.*?)```", text, re.DOTALL)


@pytest.mark.parametrize("example", worked_examples())
def test_each_worked_example_can_be_set(
    settings: Any, tmp_path: Path, example: str
) -> None:
    (tmp_path / "key").write_text(KEY)
    listed = json.loads(
        re.sub(r'"/run/secrets/[^"]+"', json.dumps(str(tmp_path / "key")), example)
    )
    settings.OCTOLLM_LLM_KEYS = dict.fromkeys(re.findall(r"\w+_KEY", example), KEY)

    assert complaints(settings, listed) == []
    assert dearest_price("planning").input_per_million >= 0


def test_there_is_an_example_for_each_server() -> None:
    named = {entry["name"] for each in worked_examples() for entry in json.loads(each)}

    assert named >= {"openai", "anthropic", "litellm", "ollama", "vllm", "llama"}


class TestDearestPrice:
    def test_it_bounds_every_provider(self, settings: Any) -> None:
        price = {"price": {"input": 1, "output": 9}}
        other = {"name": "two", "price": {"input": 2, "output": 4, "cached": 1}}
        settings.OCTOLLM_LLM_PROVIDERS = [ONE | price, ONE | other]

        dearest = dearest_price("judging")

        assert dearest.input_per_million == 2
        assert dearest.output_per_million == 9

    def test_who_has_no_price_is_not_asked_and_does_not_count(
        self, settings: Any
    ) -> None:
        unheard = ONE | {"name": "two", "base_url": "https://models.example.org/v1"}
        settings.OCTOLLM_LLM_PROVIDERS = [unheard, ONE]

        assert dearest_price("judging").input_per_million == 0

    def test_without_any_price_it_says_so(self, settings: Any) -> None:
        unheard = ONE | {"base_url": "https://models.example.org/v1"}
        settings.OCTOLLM_LLM_PROVIDERS = [unheard]

        with pytest.raises(UnpricedModelError):
            dearest_price("judging")
