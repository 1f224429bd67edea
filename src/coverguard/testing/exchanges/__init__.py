"""Simulated hash exchanges with the true wire formats, invented hashes and faults on demand."""
