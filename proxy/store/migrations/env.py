"""Run the migrations on the connection that the store hands over."""

from alembic import context

from proxy.store.schema import book

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=book,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
