"""Alembic's entry: runs inside the transaction that `store.migrate` opened."""

from alembic import context

from coverguard.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
