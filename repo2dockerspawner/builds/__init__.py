"""Builds: one container that runs repo2docker, and everything about it."""
