from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("cvat_lambda", "0012_list_indexes"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="request",
            index=models.Index(
                fields=["owner", "status", "created_at"], name="lambda_req_own_status_idx"
            ),
        ),
        migrations.AddIndex(
            model_name="request",
            index=models.Index(
                fields=["owner", "function_id", "created_at"], name="lambda_req_own_func_idx"
            ),
        ),
        migrations.AddIndex(
            model_name="request",
            index=models.Index(
                fields=["function_id", "status", "created_at"], name="lambda_req_func_status_idx"
            ),
        ),
    ]
