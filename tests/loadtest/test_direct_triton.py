"""The direct load counts what a real Triton answered, and says so when it did not."""

import numpy as np
import pytest

from loadtest.direct_triton import Measured, main, photo_like, table
from standalone.machine.ports import free_port
from standalone.parts.triton_server import TritonServer


@pytest.mark.integration
@pytest.mark.parametrize("model", ["clip_vit", "clip_image"])
def test_every_concurrency_is_measured(
    triton: TritonServer, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--model", model, "--concurrency", "1,3", "--batch", "2", "--seconds", "0.5"]
    assert main(["--address", str(triton.address), *options]) == 0
    _, _, *rows = capsys.readouterr().out.splitlines()
    assert [row.split()[0] for row in rows] == ["1", "3"]
    for row in rows:
        _, images_s, p50, p99, most, failed = map(float, row.split())
        assert images_s > 0
        assert 0 < p50 <= p99 <= most
        assert failed == 0


def test_no_triton_is_a_failure_with_its_address(capsys: pytest.CaptureFixture[str]) -> None:
    address = f"127.0.0.1:{free_port()}"
    assert main(["--address", address, "--seconds", "0.1"]) == 1
    assert address in capsys.readouterr().err


def test_the_table_has_the_slowest_too() -> None:
    rows = table([Measured(4, 12.5, [10.0, 20.0, 400.0], failed=1)]).splitlines()
    assert rows[1].split() == ["4", "12.5", "20.0", "392.4", "400.0", "1"]


def test_a_generated_photo_has_as_many_bytes_as_one() -> None:
    assert 30_000 < len(photo_like(np.random.default_rng(1))) < 200_000
