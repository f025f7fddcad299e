"""Mistakes in the planner's settings, found at start and told with a remedy."""

from __future__ import annotations

from typing import Any

from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from planner.grants import policy


@checks.register
def check_policy(**_: Any) -> list[checks.CheckMessage]:
    """Find a policy that cannot be read; no plan would pass."""
    try:
        policy()
    except ImproperlyConfigured as error:
        return [
            checks.Error(
                str(error),
                hint='It is a JSON object such as {"arms": ["analyst"], "tools": "*", '
                '"commands": ["pytest"], "hosts": ["api.example.org"]}.',
                id="planner.E001",
            )
        ]
    return []
