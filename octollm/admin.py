"""The operator's pages of this app, and what every page of the admin shows."""

from __future__ import annotations

from django.conf import settings
from django.http import HttpRequest


def environment_badge(request: HttpRequest) -> list[str]:
    """Return the badge beside the title: where we are, and its colour."""
    label: str = settings.ENVIRONMENT_LABEL
    return [label, "danger" if label == "production" else "info"]
