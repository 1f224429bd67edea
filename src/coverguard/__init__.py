"""Keeps known abuse imagery off a platform whose users upload custom cover art."""

__version__ = "0.2.0"
