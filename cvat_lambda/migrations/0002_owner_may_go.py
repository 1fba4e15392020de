"""Keep the requests of a deleted user, also if this app is not installed when the user is deleted.

Django sets the owner of requests to null before it deletes a user, but only while this app is
installed. If CVAT's own app is installed again, the tables of this app remain, and PostgreSQL would
refuse to delete a user who has started a request. Therefore the constraint in PostgreSQL sets the
owner to null. The standalone server needs no such constraint, and SQLite cannot change one.
"""

from django.db import migrations


def let_the_database_forget(apps, schema_editor):
    connection = schema_editor.connection
    if connection.vendor != "postgresql":
        return
    request = apps.get_model("cvat_lambda", "Request")
    owner = request._meta.get_field("owner")
    table = request._meta.db_table
    user = owner.related_model._meta
    with connection.cursor() as cursor:
        constraints = connection.introspection.get_constraints(cursor, table)
    (name,) = (
        name
        for name, facts in constraints.items()
        if facts["foreign_key"] and facts["columns"] == [owner.column]
    )
    quote = schema_editor.quote_name
    schema_editor.execute(
        f"ALTER TABLE {quote(table)} DROP CONSTRAINT {quote(name)},"
        f" ADD CONSTRAINT {quote(name)} FOREIGN KEY ({quote(owner.column)})"
        f" REFERENCES {quote(user.db_table)} ({quote(user.pk.column)})"
        " ON DELETE SET NULL DEFERRABLE INITIALLY DEFERRED"
    )


class Migration(migrations.Migration):
    dependencies = [("cvat_lambda", "0001_initial")]
    operations = [
        # Back: the table goes with the first migration.
        migrations.RunPython(let_the_database_forget, migrations.RunPython.noop),
    ]
