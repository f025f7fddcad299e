"""What can keep the embedded system from starting."""

from __future__ import annotations

from octollm.errors import OctoLLMError


class EmbeddedError(OctoLLMError):
    """The embedded system cannot start or go on."""

    code = "embedded"


class EngineError(EmbeddedError):
    """A database engine cannot start or does not answer."""

    code = "engine"


class AlreadyRunningError(EmbeddedError):
    """Another start holds the data directory."""

    code = "already_running"
