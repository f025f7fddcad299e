"""All rows of this app: what owners ingested, and the registry."""

from __future__ import annotations

from arms.knowledge.models import Chunk, Document
from arms.registry_models import (
    ArmInstance,
    Execution,
    HealthCheck,
    RegisteredArm,
    ServedExecution,
)

__all__ = [
    "ArmInstance",
    "Chunk",
    "Document",
    "Execution",
    "HealthCheck",
    "RegisteredArm",
    "ServedExecution",
]
