"""The operator's pages: what happened, read-only.

Texts stand as they are stored, with placeholders; nothing is revealed here. Django
imports this package to have them registered.
"""

from tasks_app.admin import approvals, audit, charges, results, steps, tasks

__all__ = ["approvals", "audit", "charges", "results", "steps", "tasks"]
