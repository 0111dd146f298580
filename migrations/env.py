"""How Alembic reaches the database: over the connection that `app.store.migrate` hands in, in its transaction."""

from alembic import context

from app.store import dataset_tables, key_tables, metric_tables, tables

for others in (dataset_tables.datasets, metric_tables.metric_points, key_tables.api_keys):
    assert others.metadata is tables.metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=tables.metadata,
    render_as_batch=True,  # SQLite alters a table by copying it
    transactional_ddl=False,  # the transaction is the caller's
)
context.run_migrations()
