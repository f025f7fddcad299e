"""What hangs on a task goes with it, by a plain DELETE; a fork forgets its origin.

A migration of its own: Django makes a new table's foreign keys when the migration that
makes the table ends.
"""

from importlib import import_module

from django.db import migrations

cascades = import_module("tasks_app.migrations.0002_cascades")


class Migration(migrations.Migration):

    dependencies = [("tasks_app", "0006_audit_checkpoints")]

    operations = [
        cascades.operation("approvals", "task_id", "tasks"),
        cascades.operation("tasks", "forked_from_id", "tasks", "ON DELETE SET NULL"),
    ]
