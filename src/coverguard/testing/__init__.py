"""Shipped fakes, simulators and the generator of harmless pictures, for tests, demos and benchmarks only."""
