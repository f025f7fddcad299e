"""The registry in tests that use no database."""

from __future__ import annotations

from typing import Any

import pytest

from arms import registry


def without_tables(request: pytest.FixtureRequest, monkeypatch: Any) -> None:
    """Let a test without a database have the arms of this process alone."""
    uses = {"db", "transactional_db", "engines"} & set(request.fixturenames)
    if uses or request.node.get_closest_marker("django_db") is not None:
        return
    registry.forget()
    monkeypatch.setattr(registry, "_from_tables", lambda last: last)
