"""Clients of the exchanges that hand out hash lists."""
