"""Signed rows of the audit, and what retention needs.

The checkpoint goes with its task by the database itself, like all that hangs on one.
"""

import django.contrib.postgres.fields
import django.db.models.deletion
from django.db import migrations, models

CASCADE = (
    "ALTER TABLE event_checkpoints ADD CONSTRAINT event_checkpoints_task_id_fk "
    "FOREIGN KEY (task_id) REFERENCES tasks (id) ON DELETE CASCADE"
)


class Migration(migrations.Migration):

    dependencies = [
        ("octollm", "0002_add_breakers"),
        ("tasks_app", "0005_ledger"),
    ]

    operations = [
        migrations.CreateModel(
            name="EventCheckpoint",
            fields=[
                ("signature", models.CharField(editable=False, max_length=64)),
                (
                    "task",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="checkpoint",
                        serialize=False,
                        to="tasks_app.task",
                    ),
                ),
                ("seq", models.IntegerField()),
                ("mac", models.CharField(max_length=64)),
                ("status", models.CharField()),
                ("at", models.DateTimeField()),
            ],
            options={
                "db_table": "event_checkpoints",
            },
        ),
        migrations.CreateModel(
            name="RetentionCursor",
            fields=[
                ("part", models.CharField(primary_key=True, serialize=False)),
                ("finished_at", models.DateTimeField()),
                ("task_id", models.UUIDField()),
            ],
            options={
                "db_table": "retention_cursors",
            },
        ),
        migrations.CreateModel(
            name="Seal",
            fields=[
                ("signature", models.CharField(editable=False, max_length=64)),
                ("number", models.BigIntegerField(primary_key=True, serialize=False)),
                ("previous", models.CharField(blank=True, max_length=64)),
                ("from_at", models.DateTimeField()),
                ("until_at", models.DateTimeField()),
                (
                    "task_ids",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.UUIDField(), size=None
                    ),
                ),
                (
                    "seqs",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.IntegerField(), size=None
                    ),
                ),
                (
                    "heads",
                    django.contrib.postgres.fields.ArrayField(
                        base_field=models.CharField(max_length=64), size=None
                    ),
                ),
            ],
            options={
                "db_table": "audit_seals",
                "ordering": ["number"],
            },
        ),
        migrations.CreateModel(
            name="Tombstone",
            fields=[
                ("signature", models.CharField(editable=False, max_length=64)),
                (
                    "task_id",
                    models.UUIDField(editable=False, primary_key=True, serialize=False),
                ),
                ("status", models.CharField()),
                ("run", models.IntegerField()),
                ("created_at", models.DateTimeField()),
                ("finished_at", models.DateTimeField()),
                ("deleted_at", models.DateTimeField()),
                ("deleted_by", models.CharField()),
                ("seq", models.IntegerField()),
                ("mac", models.CharField(max_length=64)),
                ("spent_nano", models.BigIntegerField()),
                ("spent_tokens", models.BigIntegerField()),
            ],
            options={
                "db_table": "tombstones",
                "ordering": ["-deleted_at"],
            },
        ),
        migrations.AddField(
            model_name="task",
            name="removed_parts",
            field=django.contrib.postgres.fields.ArrayField(
                base_field=models.CharField(), db_default=[], default=list, size=None
            ),
        ),
        migrations.AddIndex(
            model_name="task",
            index=models.Index(
                condition=models.Q(("finished_at__isnull", False)),
                fields=["finished_at", "id"],
                name="idx_tasks_finished",
            ),
        ),
        migrations.AddField(
            model_name="tombstone",
            name="owner",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.PROTECT,
                related_name="+",
                to="octollm.owner",
            ),
        ),
        migrations.AddIndex(
            model_name="tombstone",
            index=models.Index(fields=["deleted_at"], name="idx_tombstones_deleted"),
        ),
        migrations.RunSQL(
            CASCADE,
            "ALTER TABLE event_checkpoints DROP CONSTRAINT event_checkpoints_task_id_fk",
        ),
    ]
