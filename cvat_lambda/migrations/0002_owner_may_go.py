"""A request outlives its owner, also where this app is not there to see the owner go.

Django itself forgets the owner of requests before it deletes a user, but only while this app is
installed. After the way back to CVAT's own app its tables stay, and PostgreSQL would let no person
go who has ever started a request. So PostgreSQL forgets the owner itself. The embedded server has
no such way back, and SQLite no way to change a constraint.
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
