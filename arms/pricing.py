"""What a model costs: the operator's word, nothing at home, or the price list.

Source of listed prices: the ``genai-prices`` package as installed; nothing is
fetched at run time. A listed price may depend on the length of the input and on the
time of day: a call is held at the dearest that may come, and settled at what came.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import ROUND_UP, Decimal
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from django.conf import settings

from arms.contract import CallPrice
from octollm.errors import UnpricedModelError

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, TieredPrices

# The highest price that an operator may set, USD per million tokens.
MAX_PRICE = 1_000_000

_LOCAL_SUFFIXES = (".localhost", ".local", ".internal", ".lan", ".home.arpa")
#: The source of a price that nobody knows, where the operator allows such calls.
UNPRICED = "unpriced"
# How the source of a listed price begins; its provider follows.
_LISTED = "genai-prices:"
# What the ledger keeps of a price.
_MICRO = Decimal("0.000001")
# A call that begins just before a price changes by the clock ends after it.
_CALL_MAY_TAKE = timedelta(minutes=10)
# What some models are billed by besides their tokens; for those, dollars per token
# are not the whole price.
_OTHER_UNITS = ("requests_kcount", "output_reasoning_mtok", "output_citation_mtok")


def price_of(
    base_url: str, model: str, *, override: CallPrice | None = None
) -> CallPrice:
    """Return the highest price of ``model`` at ``base_url``, USD per million tokens.

    The provider follows from the address, never from the model's name: anybody may
    serve a model under a well-known name.

    Args:
        base_url: where the model is served.
        model: its name there.
        override: what the operator says that it costs, which needs no look-up.

    Raises:
        UnpricedModelError: nobody knows it; an unknown price is 0 only by the
            operator's explicit word, and then says so in its source.
    """
    override = override or _price_in_settings(base_url)
    if override is not None:
        _require_sane(override)
        return override
    if is_private(base_url):
        return _nothing("private address")
    listed = _dearest(base_url, model)
    if listed is None and settings.OCTOLLM_LLM_ALLOW_UNPRICED:
        return _nothing(UNPRICED)
    if listed is None:
        raise UnpricedModelError(
            f"The price of “{model}” at {urlsplit(base_url).hostname} is unknown; set "
            "OCTOLLM_LLM_PRICE_INPUT and OCTOLLM_LLM_PRICE_OUTPUT."
        )
    return listed


def settled_price(
    base_url: str,
    model: str,
    *,
    input_tokens: int,
    reserved: CallPrice,
    cached_tokens: int = 0,
    written_tokens: int = 0,
) -> CallPrice:
    """Return what a call that was held at ``reserved`` is billed at.

    That is the tier which all of its ``input_tokens`` fall in. Those of them that the
    provider wrote into its cache may cost more; the price of input then is the mean
    over all that were not read from there. A price that is not from the list, such as
    the operator's, has no tiers.
    """
    if not reserved.source.startswith(_LISTED):
        return reserved

    def tier(price: TieredPrices) -> Decimal:
        # The last one crossed is the price of all tokens, not of those above it.
        crossed = [each.price for each in price.tiers if input_tokens > each.start]
        return crossed[-1] if crossed else price.base

    listed = _listed(base_url, model, datetime.now(UTC), tier)
    if listed is None:
        return reserved
    fresh_tokens = max(input_tokens - cached_tokens, 1)
    share = Decimal(min(written_tokens, fresh_tokens)) / fresh_tokens
    per_input = listed.per_input + (listed.per_written - listed.per_input) * share
    return listed.price(per_input.quantize(_MICRO, ROUND_UP))


def is_private(base_url: str) -> bool:
    """Tell whether an address is on this machine or in a private network.

    Names are judged by their form, without a look-up: one label, as in a compose
    file, or a suffix that public names cannot have.
    """
    host = (urlsplit(base_url).hostname or "").rstrip(".").lower()
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return bool(host) and ("." not in host or host.endswith(_LOCAL_SUFFIXES))
    return address.is_private or address.is_loopback or address.is_link_local


def _nothing(source: str) -> CallPrice:
    free = Decimal(0)
    return CallPrice(input_per_million=free, output_per_million=free, source=source)


def _price_in_settings(base_url: str) -> CallPrice | None:
    """Return the price in the settings, which is that of their own address."""
    own_url: str = settings.OCTOLLM_LLM_BASE_URL
    per_input: Decimal | None = settings.OCTOLLM_LLM_PRICE_INPUT
    per_output: Decimal | None = settings.OCTOLLM_LLM_PRICE_OUTPUT
    per_cached: Decimal | None = settings.OCTOLLM_LLM_PRICE_CACHED
    is_unset = per_input is None and per_output is None and per_cached is None
    if is_unset or base_url.rstrip("/") != own_url.rstrip("/"):
        return None
    if per_input is None or per_output is None:
        raise UnpricedModelError(
            "OCTOLLM_LLM_PRICE_INPUT and OCTOLLM_LLM_PRICE_OUTPUT belong together; "
            "set both."
        )
    return CallPrice(
        input_per_million=per_input,
        output_per_million=per_output,
        cached_per_million=per_cached,
        source="settings",
    )


def _require_sane(price: CallPrice) -> None:
    """Refuse what would make the ledger's amounts negative or overflow."""
    figures = (
        price.input_per_million,
        price.output_per_million,
        price.cached_per_million or Decimal(0),
    )
    if not all(figure.is_finite() and 0 <= figure <= MAX_PRICE for figure in figures):
        raise UnpricedModelError(
            f"A price in the settings is not a number from 0 to {MAX_PRICE}."
        )


@dataclass(frozen=True, kw_only=True)
class _Listed:
    """What the list says of a model at one moment, USD per million tokens.

    Attributes:
        per_written: for input that the provider writes into its cache.
    """

    per_input: Decimal
    per_output: Decimal
    per_cached: Decimal | None
    per_written: Decimal
    source: str
    version: str

    def price(self, per_input: Decimal) -> CallPrice:
        return CallPrice(
            input_per_million=per_input,
            output_per_million=self.per_output,
            cached_per_million=self.per_cached,
            source=self.source,
            version=self.version,
        )

    def dearest(self) -> CallPrice:
        return self.price(max(self.per_input, self.per_written))


def _dearest(base_url: str, model: str) -> CallPrice | None:
    """Return the highest price that a call which begins now may be billed at."""

    def highest(price: TieredPrices) -> Decimal:
        return max(price.base, *(tier.price for tier in price.tiers))

    now = datetime.now(UTC)
    first = _listed(base_url, model, now, highest)
    later = _listed(base_url, model, now + _CALL_MAY_TAKE, highest)
    if first is None or later is None:
        return None
    # Providers change both prices in the same direction.
    return max(
        first, later, key=lambda each: each.per_input + each.per_output
    ).dearest()


def _listed(
    base_url: str,
    model: str,
    moment: datetime,
    choose: Callable[[TieredPrices], Decimal],
) -> _Listed | None:
    """Return what is listed for a moment, ``choose`` being asked for the tier."""
    found = _find(base_url, model)
    if found is None:
        return None
    entry, provider, version = found
    prices = entry.get_prices(moment)

    # Units are set dynamically: what a model is not billed by is not there.
    def price(unit: str) -> Decimal | None:
        value = getattr(prices, unit, None)
        return value if value is None or isinstance(value, Decimal) else choose(value)

    per_input, per_output = price("input_mtok"), price("output_mtok")
    has_other = any(price(unit) for unit in _OTHER_UNITS)
    if per_input is None or per_output is None or has_other:
        return None
    return _Listed(
        per_input=per_input,
        per_output=per_output,
        per_cached=price("cache_read_mtok"),
        per_written=price("cache_write_mtok") or per_input,
        source=_LISTED + provider,
        version=version,
    )


@lru_cache(maxsize=64)
def _find(base_url: str, model: str) -> tuple[ModelInfo, str, str] | None:
    """Return the list's entry of a model, its provider's id and the list's version."""
    # Imported here: it takes most of a second, and most processes price no model.
    import genai_prices
    from genai_prices.data_snapshot import get_snapshot

    snapshot = get_snapshot()
    for provider in snapshot.providers:
        if not _is_at(base_url, provider.api_pattern):
            continue
        found = provider.find_model(model, all_providers=snapshot.providers)
        if found is not None:
            return found, provider.id, genai_prices.__version__
    return None


def _is_at(base_url: str, pattern: str) -> bool:
    """Match a provider's pattern, and no host that merely begins like its host."""
    match = re.match(pattern, base_url)
    if match is None:
        return False
    is_whole_host = match[0].endswith(("/", ".")) or match.end() == len(base_url)
    return is_whole_host or base_url[match.end()] in "/:?#"
