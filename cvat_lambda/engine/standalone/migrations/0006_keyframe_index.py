import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("engine", "0005_unknown_members_and_intervals"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="trackedshape",
            index=models.Index(fields=["track", "frame", "id"], name="engine_keyframe_idx"),
        ),
        migrations.AlterField(
            model_name="trackedshape",
            name="track",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="shapes",
                to="engine.labeledtrack",
            ),
        ),
    ]
