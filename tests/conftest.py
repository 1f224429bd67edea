"""What all tests share: one Hypothesis profile. Fixtures live beside the tests that need them."""

from hypothesis import settings

# No deadline: a slow neighbour on a shared machine is not a fault of the code.
settings.register_profile("coverguard", deadline=None, max_examples=60, print_blob=True)
settings.load_profile("coverguard")
