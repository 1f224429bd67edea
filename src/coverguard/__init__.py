"""Keeps known abuse imagery off a platform whose users upload custom cover art."""

__version__ = "0.1.0"
