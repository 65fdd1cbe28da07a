"""What builds rely on in a Docker engine holds on a real one."""

from __future__ import annotations

from collections.abc import Iterator

import docker
import pytest
from testbed.names import BASE_IMAGE

pytest.register_assert_rewrite("testbed.contract")

from testbed.contract import EngineContract  # noqa: E402


@pytest.fixture
def engine_client() -> Iterator[docker.APIClient]:
    client = docker.from_env(timeout=60).api
    yield client
    client.close()


@pytest.fixture
def base_image() -> str:
    return BASE_IMAGE


class TestRealEngine(EngineContract):
    pass
