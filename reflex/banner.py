"""What every page of the admin says while blocking is off."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest


def blocking_banner(request: HttpRequest) -> dict[str, Any]:
    """Let every page of the admin know whether attacks are let through."""
    return {"is_blocking_off": not settings.OCTOLLM_REFLEX_ENABLED}
