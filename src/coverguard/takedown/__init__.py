"""Account takedown: one success condition, zero publicly reachable objects of the account.

`TakedownDriver` takes every live takedown as far as it gets, restart-safe at each step; `TakedownVerbs` are
what people may ask for. What an event, a verdict or a report asks for is `store.takedowns.request`, in the
transaction of the use case that asks.
"""

from coverguard.takedown.driver import Progress, TakedownDriver, TakedownRules
from coverguard.takedown.verbs import TakedownVerbs

__all__ = ["Progress", "TakedownDriver", "TakedownRules", "TakedownVerbs"]
