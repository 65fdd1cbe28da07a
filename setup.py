"""All metadata is in setup.cfg; this file is here for tools that call it."""

from setuptools import setup

setup()
