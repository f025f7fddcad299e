"""The admin's pages of rows that the system writes and people only read."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from django.db.models import Model
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline

MAX_SHOWN = 20_000


class ReadOnlyAdmin(ModelAdmin):
    """A list and a page of a history."""

    list_per_page = 50
    list_filter_submit = True
    # Counting a large table for every page would be slower than the page.
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds to a history."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes a history; viewing stays allowed."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody deletes from a history by hand."""
        return False


class ReadOnlyInline(TabularInline):
    """Rows of a history on the page of what they belong to."""

    extra = 0
    tab = True
    # A column links to the row's page; a title would repeat what the columns say.
    hide_title = True

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody adds to a history."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes a history; viewing stays allowed."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody deletes from a history by hand."""
        return False


def shown_json(value: Any, *, limit: int = MAX_SHOWN) -> SafeString:
    """Return a value as JSON that a page shows as text, cut where it gets long."""
    text = json.dumps(value, indent=2, ensure_ascii=False, default=str)
    if len(text) > limit:
        text = f"{text[:limit]}\n… {len(text) - limit} characters more"
    style = "white-space: pre-wrap; overflow-wrap: anywhere"
    return format_html('<pre style="{}">{}</pre>', style, text)


def shown_list(values: Iterable[Any], *, empty: str = "-") -> str:
    """Return short values in one line."""
    return ", ".join(map(str, values)) or empty


def link_to(row: Model, text: str = "") -> SafeString:
    """Return a link to the page of a row; its own words unless ``text`` is given."""
    meta = row._meta
    url = reverse(f"admin:{meta.app_label}_{meta.model_name}_change", args=[row.pk])
    return format_html('<a class="text-link" href="{}">{}</a>', url, text or str(row))
