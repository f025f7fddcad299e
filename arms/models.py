"""All rows of this app: what owners ingested."""

from __future__ import annotations

from arms.knowledge.models import Chunk, Document

__all__ = ["Chunk", "Document"]
