"""What an operator decides about owners."""

from __future__ import annotations

from decimal import Decimal

from octollm.access.models import Owner

# As much as the column holds with six places.
MAX_CAP_USD = Decimal(999_999)


def set_cap(name: str, usd: Decimal | None) -> None:
    """Set an owner's cap for each month in dollars, or lift it.

    Raises:
        ValueError: there is no such owner, or the cap is no such amount.
    """
    if usd is not None and not (usd.is_finite() and 0 <= usd <= MAX_CAP_USD):
        raise ValueError(f"a cap must be from 0 to {MAX_CAP_USD} USD")
    if not Owner.objects.filter(name=name).update(monthly_cap_usd=usd):
        raise ValueError("no such owner")
