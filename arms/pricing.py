"""What a model costs: the operator's word, nothing at home, or the price list.

Source of listed prices: the ``genai-prices`` package as installed; nothing is
fetched at run time.
"""

from __future__ import annotations

import ipaddress
import re
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from django.conf import settings

from arms.contract import CallPrice
from octollm.errors import UnpricedModelError

if TYPE_CHECKING:
    from genai_prices.types import ModelInfo, TieredPrices

_LOCAL_SUFFIXES = (".localhost", ".local", ".internal", ".lan", ".home.arpa")


def price_of(base_url: str, model: str) -> CallPrice:
    """Return the price of ``model`` at ``base_url``, USD per million tokens.

    The provider follows from the address, never from the model's name: anybody may
    serve a model under a well-known name.

    Raises:
        UnpricedModelError: nobody knows it; an unknown price is never 0.
    """
    override = _override()
    if override is not None:
        return override
    if is_private(base_url):
        free = Decimal(0)
        return CallPrice(
            input_per_million=free, output_per_million=free, source="private address"
        )
    listed = _listed(base_url, model)
    if listed is None:
        raise UnpricedModelError(
            f"The price of “{model}” at {urlsplit(base_url).hostname} is unknown; set "
            "OCTOLLM_LLM_PRICE_INPUT and OCTOLLM_LLM_PRICE_OUTPUT."
        )
    return listed


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


def _override() -> CallPrice | None:
    per_input: Decimal | None = settings.OCTOLLM_LLM_PRICE_INPUT
    per_output: Decimal | None = settings.OCTOLLM_LLM_PRICE_OUTPUT
    if per_input is None and per_output is None:
        return None
    if per_input is None or per_output is None:
        raise UnpricedModelError(
            "Only one of OCTOLLM_LLM_PRICE_INPUT and OCTOLLM_LLM_PRICE_OUTPUT is set; "
            "set both."
        )
    return CallPrice(
        input_per_million=per_input, output_per_million=per_output, source="settings"
    )


@lru_cache(maxsize=64)
def _listed(base_url: str, model: str) -> CallPrice | None:
    # Imported here: it takes most of a second, and most processes price no model.
    import genai_prices
    from genai_prices.data_snapshot import get_snapshot

    snapshot = get_snapshot()
    for provider in snapshot.providers:
        if not _is_at(base_url, provider.api_pattern):
            continue
        found = provider.find_model(model, all_providers=snapshot.providers)
        price = _highest(found) if found is not None else None
        if price is not None:
            return CallPrice(
                input_per_million=price[0],
                output_per_million=price[1],
                source=f"genai-prices:{provider.id}",
                version=genai_prices.__version__,
            )
    return None


def _is_at(base_url: str, pattern: str) -> bool:
    """Match a provider's pattern, and no host that merely begins like its host."""
    match = re.match(pattern, base_url)
    if match is None:
        return False
    is_whole_host = match[0].endswith(("/", ".")) or match.end() == len(base_url)
    return is_whole_host or base_url[match.end()] in "/:?#"


def _highest(model: ModelInfo) -> tuple[Decimal, Decimal] | None:
    """Return the dearest tier for input and output, so that no hold is too small."""
    prices = model.get_prices(datetime.now(UTC))
    # Prices by unit are set dynamically; a model billed by other units has neither.
    per_input = _top(getattr(prices, "input_mtok", None))
    per_output = _top(getattr(prices, "output_mtok", None))
    if per_input is None or per_output is None:
        return None
    return per_input, per_output


def _top(price: Decimal | TieredPrices | None) -> Decimal | None:
    if price is None or isinstance(price, Decimal):
        return price
    return max(price.base, *(tier.price for tier in price.tiers))
