"""What a model costs, by settings, address and price list."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from arms.contract import CallPrice
from arms.pricing import UNPRICED, is_private, price_of, settled_price
from octollm.errors import UnpricedModelError

OPENAI = "https://api.openai.com/v1"
GOOGLE = "https://generativelanguage.googleapis.com/v1beta/openai/"


@pytest.fixture
def priced(settings: Any) -> Any:
    """Settings that give the model of the settings, at OpenAI, a price."""
    settings.OCTOLLM_LLM_BASE_URL = OPENAI
    settings.OCTOLLM_LLM_PRICE_INPUT = Decimal("1.5")
    settings.OCTOLLM_LLM_PRICE_OUTPUT = Decimal("4")
    return settings


@pytest.mark.parametrize(
    "base_url",
    [
        "http://localhost:11434/v1",
        "http://127.0.0.1:8080/v1",
        "http://[::1]:8080/v1",
        "http://10.1.2.3/v1",
        "http://192.168.1.5:8000/v1",
        "http://ollama:11434/v1",
        "http://gpu.internal/v1",
    ],
)
def test_a_model_at_home_costs_nothing(base_url: str) -> None:
    price = price_of(base_url, "gpt-4o")

    assert price.input_per_million == price.output_per_million == Decimal(0)
    assert price.source == "private address"


@pytest.mark.parametrize(
    "base_url",
    [OPENAI, "https://8.8.8.8/v1", "https://models.example.org/v1", "https:///v1", ""],
)
def test_public_addresses_are_not_private(base_url: str) -> None:
    assert not is_private(base_url)


def test_a_listed_model_has_its_providers_price() -> None:
    price = price_of(OPENAI, "gpt-4o-mini")

    assert price.input_per_million == Decimal("0.15")
    assert price.output_per_million == Decimal("0.6")
    assert price.source == "genai-prices:openai"
    assert price.version


def test_the_list_knows_the_price_of_cached_input() -> None:
    assert price_of(OPENAI, "gpt-4o-mini").cached_per_million == Decimal("0.075")


def test_a_call_is_held_at_the_dearest_tier() -> None:
    price = price_of(GOOGLE, "gemini-2.5-pro")

    assert price.input_per_million == Decimal("2.5")
    assert price.output_per_million == Decimal("15")


@pytest.mark.parametrize(
    ("input_tokens", "per_input", "per_output"),
    [(200_000, "1.25", "10"), (200_001, "2.5", "15")],
)
def test_a_call_is_settled_at_the_tier_of_its_input(
    input_tokens: int, per_input: str, per_output: str
) -> None:
    held = price_of(GOOGLE, "gemini-2.5-pro")

    price = settled_price(
        GOOGLE, "gemini-2.5-pro", input_tokens=input_tokens, reserved=held
    )

    assert price.input_per_million == Decimal(per_input)
    assert price.output_per_million == Decimal(per_output)
    assert (price.source, price.version) == (held.source, held.version)


WRITING = "gpt-6.1-terra"


def test_a_call_is_held_at_the_price_of_writing_to_the_cache() -> None:
    assert price_of(OPENAI, WRITING).input_per_million == Decimal("2.5")


@pytest.mark.parametrize(
    ("cached", "written", "per_input"),
    [
        (0, 0, "1"),
        (0, 1000, "1.25"),
        (0, 500, "1.125"),
        (600, 400, "1.25"),
        (700, 100, "1.083334"),
        (700, 5000, "1.25"),
        (1000, 0, "1"),
    ],
)
def test_input_that_was_written_to_the_cache_costs_what_that_costs(
    cached: int, written: int, per_input: str
) -> None:
    price = settled_price(
        OPENAI,
        WRITING,
        input_tokens=1000,
        reserved=price_of(OPENAI, WRITING),
        cached_tokens=cached,
        written_tokens=written,
    )

    assert price.input_per_million == Decimal(per_input)


def test_the_operators_price_has_no_tiers(priced: Any) -> None:
    priced.OCTOLLM_LLM_BASE_URL = GOOGLE
    held = price_of(GOOGLE, "gemini-2.5-pro")

    price = settled_price(GOOGLE, "gemini-2.5-pro", input_tokens=1, reserved=held)

    assert price == held


@pytest.mark.parametrize("model", ["sonar", "sonar-deep-research"])
def test_a_model_that_is_billed_by_more_than_tokens_has_no_price(model: str) -> None:
    with pytest.raises(UnpricedModelError):
        price_of("https://api.perplexity.ai", model)


@pytest.mark.parametrize(
    ("base_url", "model"),
    [
        (OPENAI, "no-such-model-7"),
        ("https://models.example.org/v1", "gpt-4o"),
        ("https://api.openai.com.example.org/v1", "gpt-4o"),
    ],
)
def test_an_unknown_price_is_refused_whatever_the_name(
    base_url: str, model: str
) -> None:
    with pytest.raises(UnpricedModelError, match="OCTOLLM_LLM_PRICE_INPUT"):
        price_of(base_url, model)


@pytest.mark.parametrize("base_url", [OPENAI, "http://127.0.0.1/v1"])
def test_the_operators_price_comes_first(priced: Any, base_url: str) -> None:
    priced.OCTOLLM_LLM_BASE_URL = base_url

    price = price_of(base_url, "gpt-4o-mini")

    assert price.input_per_million == Decimal("1.5")
    assert price.output_per_million == Decimal("4")
    assert price.cached_per_million is None
    assert price.source == "settings"


def test_the_operator_may_price_cached_input(priced: Any) -> None:
    priced.OCTOLLM_LLM_PRICE_CACHED = Decimal("0.5")

    assert price_of(OPENAI, "gpt-4o-mini").cached_per_million == Decimal("0.5")


def test_the_settings_price_nothing_at_another_address(priced: Any) -> None:
    assert price_of("http://127.0.0.1/v1", "m").source == "private address"
    assert price_of(GOOGLE, "gemini-2.5-pro").source == "genai-prices:google"


def test_a_providers_own_price_comes_before_that_of_the_settings(priced: Any) -> None:
    own = CallPrice(
        input_per_million=Decimal(7), output_per_million=Decimal(8), source="settings"
    )

    assert price_of(OPENAI, "gpt-4o-mini", override=own) == own


@pytest.mark.parametrize("name", ["INPUT", "OUTPUT", "CACHED"])
def test_half_an_override_is_no_price(settings: Any, name: str) -> None:
    settings.OCTOLLM_LLM_BASE_URL = "http://127.0.0.1/v1"
    setattr(settings, f"OCTOLLM_LLM_PRICE_{name}", Decimal("1.5"))

    with pytest.raises(UnpricedModelError, match="set both"):
        price_of("http://127.0.0.1/v1/", "m")


@pytest.mark.parametrize("figure", ["-1", "NaN", "Infinity", "1000001"])
def test_a_price_that_is_no_price_is_refused(priced: Any, figure: str) -> None:
    priced.OCTOLLM_LLM_PRICE_CACHED = Decimal(figure)

    with pytest.raises(UnpricedModelError, match="not a number from 0"):
        price_of(OPENAI, "gpt-4o-mini")


def test_unknown_price_is_0_by_the_operators_word_alone(settings: Any) -> None:
    url = "https://models.example.org/v1"
    with pytest.raises(UnpricedModelError):
        price_of(url, "unheard-of")
    settings.OCTOLLM_LLM_ALLOW_UNPRICED = True

    price = price_of(url, "unheard-of")

    assert price.input_per_million == price.output_per_million == Decimal(0)
    assert price.source == UNPRICED
    assert settled_price(url, "unheard-of", input_tokens=9, reserved=price) == price


def test_the_operators_word_makes_no_known_price_unknown(settings: Any) -> None:
    settings.OCTOLLM_LLM_ALLOW_UNPRICED = True

    assert price_of(OPENAI, "gpt-4o-mini").source == "genai-prices:openai"
    assert price_of("http://127.0.0.1:1/v1", "m").source == "private address"


def test_a_price_that_makes_no_sense_is_refused_all_the_same(settings: Any) -> None:
    settings.OCTOLLM_LLM_ALLOW_UNPRICED = True
    settings.OCTOLLM_LLM_PRICE_INPUT = Decimal(1)
    settings.OCTOLLM_LLM_BASE_URL = "https://models.example.org/v1"

    with pytest.raises(UnpricedModelError):
        price_of("https://models.example.org/v1", "m")
