"""Foreign keys with ON DELETE CASCADE in the database, as handed over.

Django 5.2 cascades in Python only, so a plain DELETE would be refused.
"""

from django.db import migrations

# child table, its column, parent table
FOREIGN_KEYS = [
    ("task_results", "task_id", "tasks"),
    ("verdicts", "task_id", "tasks"),
    ("task_events", "task_id", "tasks"),
    ("plans", "task_id", "tasks"),
    ("steps", "task_id", "tasks"),
    ("charges", "task_id", "tasks"),
    ("charges", "step_id", "steps"),
    ("attempts", "step_id", "steps"),
]


def operation(child: str, column: str, parent: str) -> migrations.RunSQL:
    """Add one foreign key, named after its table and column."""
    name = f"{child}_{column}_fk"
    return migrations.RunSQL(
        f"ALTER TABLE {child} ADD CONSTRAINT {name} FOREIGN KEY ({column}) "
        f"REFERENCES {parent} (id) ON DELETE CASCADE",
        f"ALTER TABLE {child} DROP CONSTRAINT {name}",
    )


class Migration(migrations.Migration):

    dependencies = [("tasks_app", "0001_initial")]

    operations = [operation(*key) for key in FOREIGN_KEYS]
