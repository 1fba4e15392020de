"""Plain names: ``Joined`` becomes ``MergedRectangle``, ``own_layer`` ``private_annotations``."""

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("cvat_lambda", "0003_done_before_a_retry")]
    operations = [
        migrations.RenameModel(old_name="Joined", new_name="MergedRectangle"),
        migrations.AlterModelOptions(
            name="mergedrectangle", options={"verbose_name_plural": "merged rectangles"}
        ),
        migrations.AlterField(
            model_name="mergedrectangle",
            name="request",
            field=models.ForeignKey(
                on_delete=django.db.models.deletion.CASCADE,
                related_name="merged_rectangles",
                to="cvat_lambda.request",
            ),
        ),
        migrations.RenameIndex(
            model_name="mergedrectangle",
            old_name="lambda_joined_frame_idx",
            new_name="lambda_merged_frame_idx",
        ),
        migrations.RenameIndex(
            model_name="mergedrectangle",
            old_name="lambda_joined_shape_idx",
            new_name="lambda_merged_shape_idx",
        ),
        migrations.RenameField(
            model_name="shard", old_name="own_layer", new_name="private_annotations"
        ),
    ]
