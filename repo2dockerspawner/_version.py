"""The version, in one place: setup.cfg reads it, labels carry it."""

__version__ = "1.0.0.dev0"
