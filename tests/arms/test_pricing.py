"""What a model costs, by settings, address and price list."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from arms.pricing import is_private, price_of
from octollm.errors import UnpricedModelError

OPENAI = "https://api.openai.com/v1"


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


def test_the_dearest_tier_counts() -> None:
    url = "https://generativelanguage.googleapis.com/v1beta/openai/"

    assert price_of(url, "gemini-2.5-pro").input_per_million == Decimal("2.5")


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
def test_the_operators_price_comes_first(settings: Any, base_url: str) -> None:
    settings.OCTOLLM_LLM_PRICE_INPUT = Decimal("1.5")
    settings.OCTOLLM_LLM_PRICE_OUTPUT = Decimal("4")

    price = price_of(base_url, "gpt-4o-mini")

    assert price.input_per_million == Decimal("1.5")
    assert price.output_per_million == Decimal("4")
    assert price.source == "settings"


def test_half_an_override_is_no_price(settings: Any) -> None:
    settings.OCTOLLM_LLM_PRICE_INPUT = Decimal("1.5")

    with pytest.raises(UnpricedModelError, match="set both"):
        price_of("http://127.0.0.1/v1", "m")
