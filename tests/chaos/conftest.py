"""The same processes as in the flow tests."""

from tests.flow.conftest import (  # noqa: F401
    _shared_database,
    gate,
    model,
    model_server,
    model_settings,
    system,
    web,
)
