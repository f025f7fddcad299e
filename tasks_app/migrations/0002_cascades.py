"""Foreign keys with ON DELETE CASCADE in the database, as handed over.

Django 5.2 cascades in Python only, so a plain DELETE would be refused. Its own
constraint on each column is replaced by one that cascades.
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

DROP = """
DO $$
DECLARE found text;
BEGIN
    FOR found IN
        SELECT c.conname FROM pg_constraint c
        JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = ANY(c.conkey)
        WHERE c.contype = 'f' AND c.conrelid = '{child}'::regclass
        AND a.attname = '{column}'
    LOOP
        EXECUTE format('ALTER TABLE {child} DROP CONSTRAINT %I', found);
    END LOOP;
END $$
"""
ADD = (
    "ALTER TABLE {child} ADD CONSTRAINT {child}_{column}_fk FOREIGN KEY ({column}) "
    "REFERENCES {parent} (id) {action}"
)


def operation(
    child: str, column: str, parent: str, action: str = "ON DELETE CASCADE"
) -> migrations.RunSQL:
    """Replace one foreign key by one that cascades; back to one that defers."""
    names = {"child": child, "column": column, "parent": parent}
    return migrations.RunSQL(
        [DROP.format(**names), ADD.format(**names, action=action)],
        [
            DROP.format(**names),
            ADD.format(**names, action="DEFERRABLE INITIALLY DEFERRED"),
        ],
    )


class Migration(migrations.Migration):

    dependencies = [("tasks_app", "0001_initial")]

    operations = [operation(*key) for key in FOREIGN_KEYS]
