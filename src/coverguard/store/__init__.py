"""The ledger: tables, migrations, transactions, and the domain's verbs in SQL. The only home of SQLAlchemy.

Verbs take an open transaction and never commit; use cases open one transaction a verb. Inside a transaction
there is no network, and rows are locked in the order cover version → account (for its cases) → item →
quarantine, each before it is read.
"""

from sqlalchemy import Connection, Row

__all__ = ["Connection", "Row"]
