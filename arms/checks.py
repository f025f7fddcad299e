"""Mistakes in the settings of model providers and arms, as Django system checks.

No message repeats a value: some of them are keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core import checks

from arms import providers, remote


@checks.register
def check_providers(**_: Any) -> list[checks.CheckMessage]:
    """Find providers that cannot be asked as they are set."""
    return [*_unreadable(), *_incomplete(), *_unused(), *_unguarded()]


@checks.register
def check_remote_arms(**_: Any) -> list[checks.CheckMessage]:
    """Find arms elsewhere that cannot be asked as they are set."""
    hint = "docs/arms.md shows how an arm elsewhere is named."
    return [
        checks.Error(problem, hint=hint, id="arms.E004")
        for problem in remote.problems()
    ]


def _unreadable() -> Iterator[checks.CheckMessage]:
    for problem in providers.problems():
        yield checks.Error(
            problem,
            hint="docs/models.md shows how a provider is set.",
            id="arms.E001",
        )


def _incomplete() -> Iterator[checks.CheckMessage]:
    base_url, models = settings.OCTOLLM_LLM_BASE_URL, _single_models()
    if not providers.uses_list() and bool(base_url) != bool(models):
        yield checks.Error(
            "Of OCTOLLM_LLM_BASE_URL and OCTOLLM_LLM_MODEL only one is set: no model "
            "would be asked.",
            hint="Set both, or neither to do without a model.",
            id="arms.E002",
        )
    prices = settings.OCTOLLM_LLM_PRICE_INPUT, settings.OCTOLLM_LLM_PRICE_OUTPUT
    has_both = None not in prices
    has_cached = settings.OCTOLLM_LLM_PRICE_CACHED is not None
    if not has_both and (has_cached or any(price is not None for price in prices)):
        yield checks.Error(
            "OCTOLLM_LLM_PRICE_INPUT and OCTOLLM_LLM_PRICE_OUTPUT belong together.",
            hint="Set both, or neither to use the packaged price list.",
            id="arms.E003",
        )


def _unused() -> Iterator[checks.CheckMessage]:
    if providers.uses_list() and (settings.OCTOLLM_LLM_BASE_URL or _single_models()):
        yield checks.Warning(
            "OCTOLLM_LLM_PROVIDERS is set, so OCTOLLM_LLM_BASE_URL, _API_KEY, _MODEL, "
            "_MODEL_* and _PRICE_* are not used.",
            hint="Unset them, or make them an entry of OCTOLLM_LLM_PROVIDERS.",
            id="arms.W001",
        )


def _unguarded() -> Iterator[checks.CheckMessage]:
    if settings.OCTOLLM_LLM_ALLOW_UNPRICED:
        yield checks.Warning(
            "OCTOLLM_LLM_ALLOW_UNPRICED is set: calls of models without a known price "
            "are booked at 0, and no cap in dollars holds for them.",
            hint="Give each such provider a price, and unset it.",
            id="arms.W002",
        )


def _single_models() -> list[str]:
    named = [settings.OCTOLLM_LLM_MODEL] + [
        getattr(settings, f"OCTOLLM_LLM_MODEL_{purpose.upper()}")
        for purpose in providers.PURPOSES
    ]
    return [name for name in named if name]
