"""Plain names of states: ``away`` becomes ``missing``, ``asleep`` becomes ``scaled_to_zero``."""

from django.db import migrations, models

NEW = {"away": "missing", "asleep": "scaled_to_zero"}
STATES = ("ready", "building", "error", "unhealthy", "scaled_to_zero", "missing")


def rename(apps, schema_editor):
    _replace(apps, NEW)


def restore(apps, schema_editor):
    _replace(apps, {new: old for old, new in NEW.items()})


def _replace(apps, names):
    functions = apps.get_model("cvat_lambda", "Function").objects
    for before, after in names.items():
        functions.filter(state=before).update(state=after)


class Migration(migrations.Migration):
    dependencies = [("cvat_lambda", "0004_rename_merged_rectangles")]
    operations = [
        migrations.AlterField(
            model_name="function",
            name="state",
            field=models.CharField(
                choices=[(state, state) for state in STATES], default="ready", max_length=16
            ),
        ),
        migrations.RunPython(rename, restore),
    ]
