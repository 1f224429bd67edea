"""The ledger: tables, migrations, transactions, and the domain's verbs in SQL. The only home of SQLAlchemy.

Verbs take an open transaction and never commit; use cases open one transaction a verb. Inside a transaction
there is no network, and rows are locked in the order case → item → quarantine.
"""

from sqlalchemy import Connection, Row

__all__ = ["Connection", "Row"]
