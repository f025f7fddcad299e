"""The operator's pages of this app; each module registers its own."""

from arms.admin import documents, history, instances, registered_arms

__all__ = ["documents", "history", "instances", "registered_arms"]
