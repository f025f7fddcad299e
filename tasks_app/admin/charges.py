"""The pages of the ledger: what each model call was, and what it cost."""

from __future__ import annotations

from typing import ClassVar

from django.contrib import admin
from django.utils.safestring import SafeString
from unfold.decorators import display

from octollm.history import ReadOnlyAdmin, link_to
from tasks_app.admin.pages import COLOURS, TaskPartAdmin, shown_dollars
from tasks_app.models import Charge, OwnerMonth


@admin.register(OwnerMonth)
class OwnerMonthAdmin(ReadOnlyAdmin):
    """What owners with a cap reserve and spend, month by month."""

    icon: ClassVar[str] = "calendar_month"
    list_display = ("month", "owner", "cap", "reserved", "spent")
    list_select_related = ("owner",)
    list_filter = ("owner",)
    fields = (("owner", "month"), ("reserved", "spent"), "cap")

    @display(description="Cap today")
    def cap(self, row: OwnerMonth) -> str:
        """Show the owner's cap as it is now."""
        cap = row.owner.monthly_cap_usd
        return "none" if cap is None else f"${cap:.6f}"

    @display(description="Reserved", ordering="reserved_nano")
    def reserved(self, row: OwnerMonth) -> str:
        """Show what open tasks may still take."""
        return shown_dollars(row.reserved_nano)

    @display(description="Spent", ordering="spent_nano")
    def spent(self, row: OwnerMonth) -> str:
        """Show what ended tasks took."""
        return shown_dollars(row.spent_nano)


@admin.register(Charge)
class ChargeAdmin(TaskPartAdmin):
    """The ledger's rows."""

    icon: ClassVar[str] = "payments"
    list_display = (
        "model",
        "provider",
        "purpose",
        "rung",
        "state_",
        "settled_dollars",
        "is_estimated",
        "input_tokens",
        "output_tokens",
        "latency",
        "task_link",
        "created_at",
    )
    list_select_related = ("task",)
    list_filter = (
        "state",
        "is_estimated",
        "purpose",
        "provider",
        "model",
        "rung",
        "price_source",
        "created_at",
    )
    search_fields = ("task__id", "model", "provider")
    fields = (
        ("task_link", "step_link"),
        ("attempt", "purpose"),
        ("nth", "replay_count"),
        ("provider", "model"),
        ("rung", "state_"),
        ("settled_dollars", "held_dollars"),
        ("is_estimated", "latency"),
        ("input_tokens", "output_tokens"),
        ("cached_tokens", "held_tokens"),
        ("price_input", "price_output"),
        ("price_cached", "price_source"),
        ("price_version", "request_hash"),
        ("created_at", "settled_at"),
    )

    @display(description="State", label=COLOURS)
    def state_(self, charge: Charge) -> str:
        """Show the state as a coloured label with its word."""
        return charge.state

    @display(description="Step")
    def step_link(self, charge: Charge) -> SafeString:
        """Link to the step."""
        return link_to(charge.step, charge.step.step_id)

    @display(description="Dollars", ordering="settled_nano")
    def settled_dollars(self, charge: Charge) -> str:
        """Show what was booked."""
        return shown_dollars(charge.settled_nano)

    @display(description="Dollars held")
    def held_dollars(self, charge: Charge) -> str:
        """Show what was reserved."""
        return shown_dollars(charge.held_nano)

    @display(description="Latency", ordering="latency_s")
    def latency(self, charge: Charge) -> str:
        """Show how long the provider took to answer."""
        return "-" if charge.latency_s is None else f"{charge.latency_s:.2f} s"
