"""A client of the session's Triton."""

from collections.abc import Iterator

import pytest

from standalone.parts.triton_server import TritonServer
from tests.model_repository.clients import Models


@pytest.fixture(scope="module")
def models(triton: TritonServer) -> Iterator[Models]:
    models = Models(triton)
    yield models
    models.client.close()
