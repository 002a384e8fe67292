"""Runs the migrations on the connection that `store.engine.migrate` opened."""

from alembic import context

from screener.store.engine import check_references
from screener.store.tables import metadata

connection = context.config.attributes["connection"]
context.configure(connection=connection, target_metadata=metadata, render_as_batch=True, compare_type=True)
with context.begin_transaction():
    context.run_migrations()
check_references(connection)
connection.commit()
