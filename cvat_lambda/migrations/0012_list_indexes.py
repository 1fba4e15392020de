"""Indexes in the order of the lists of outcomes, and of the jobs of requests.

The indexes of the two foreign keys of an outcome are dropped, since other indexes begin with these
columns. They are dropped by SQL, because `AlterField` would copy the table on SQLite, twice.
"""

import django.db.models.deletion
from django.db import migrations, models

COLUMNS = ("request_id", "shard_id")


def drop_indexes(apps, schema_editor):
    """Drop the indexes of one of these columns alone; PostgreSQL has two of a column of text."""
    connection = schema_editor.connection
    table = apps.get_model("cvat_lambda", "Outcome")._meta.db_table
    with connection.cursor() as cursor:
        constraints = connection.introspection.get_constraints(cursor, table)
    for name, facts in constraints.items():
        is_plain = facts["index"] and not facts["unique"] and not facts["primary_key"]
        if is_plain and facts["columns"] in [[column] for column in COLUMNS]:
            schema_editor.execute(f"DROP INDEX {schema_editor.quote_name(name)}")


def restore_indexes(apps, schema_editor):
    """Create the indexes again."""
    model = apps.get_model("cvat_lambda", "Outcome")
    for field in model._meta.local_fields:
        if field.column in COLUMNS:
            for sql in schema_editor._field_indexes_sql(model, field):
                schema_editor.execute(sql)


class Migration(migrations.Migration):

    dependencies = [
        ("cvat_lambda", "0011_handed_on_tracks"),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name="outcome",
            name="lambda_outcome_status_idx",
        ),
        migrations.RunPython(drop_indexes, restore_indexes),
        migrations.SeparateDatabaseAndState(
            state_operations=[
                migrations.AlterField(
                    model_name="outcome",
                    name="request",
                    field=models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="outcomes",
                        to="cvat_lambda.request",
                    ),
                ),
                migrations.AlterField(
                    model_name="outcome",
                    name="shard",
                    field=models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="outcomes",
                        to="cvat_lambda.shard",
                    ),
                ),
            ],
        ),
        migrations.AddIndex(
            model_name="outcome",
            index=models.Index(
                fields=["request", "task_id", "frame", "id"], name="lambda_outcome_list_idx"
            ),
        ),
        migrations.AddIndex(
            model_name="outcome",
            index=models.Index(
                fields=["request", "status", "task_id", "frame", "id"],
                name="lambda_outcome_status_idx",
            ),
        ),
        migrations.AddIndex(
            model_name="request",
            index=models.Index(
                condition=models.Q(("job_id__isnull", False)),
                fields=["job_id"],
                name="lambda_req_job_idx",
            ),
        ),
        migrations.AddIndex(
            model_name="shard",
            index=models.Index(
                condition=models.Q(("job_id__isnull", False)),
                fields=["job_id"],
                name="lambda_shard_job_idx",
            ),
        ),
    ]
