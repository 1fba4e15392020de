from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ("cvat_lambda", "0013_list_indexes_of_one_owner_and_function"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="function",
            index=models.Index(
                fields=["organization_id"],
                name="lambda_func_private_idx",
                condition=models.Q(private=True),
            ),
        ),
        migrations.AddIndex(
            model_name="request",
            index=models.Index(
                fields=["created_at"],
                name="lambda_req_undone_idx",
                condition=models.Q(undone_at__isnull=False),
            ),
        ),
    ]
