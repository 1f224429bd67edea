"""What all tests share: the Hypothesis profiles. Fixtures live beside the tests that need them."""

import os

from hypothesis import settings

# No deadline: a slow neighbour on a shared machine is not a fault of the code.
settings.register_profile("coverguard", deadline=None, max_examples=60, print_blob=True)
settings.register_profile("fast", settings.get_profile("coverguard"), max_examples=12)
settings.load_profile(os.environ.get("COVERGUARD_HYPOTHESIS", "coverguard"))
