"""Reports: what somebody told us, what follows at once, what people decide, what the reporter hears of it.

`Reporting` is the whole use case, whatever the road a report came by. One report is enough: it puts what it
names into the account's one case, and another one about the same makes that more pressing, never a second
case and never a new clock. The reported user never learns of a reporter: nothing here speaks to them.
"""

from coverguard.reporting.reporting import Reporting
from coverguard.reporting.thread import Entry

__all__ = ["Entry", "Reporting"]
