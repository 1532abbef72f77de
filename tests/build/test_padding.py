"""TensorFlow's "same" padding, on sizes whose answer is known."""

import pytest

from build.starter.padding import outputs_of, same_padding


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "padding", "outputs"),
    [
        pytest.param(224, 3, 2, (0, 1), 112, id="even size, stride 2: only after"),
        pytest.param(112, 5, 2, (1, 2), 56, id="even size, large kernel: one more after"),
        pytest.param(7, 3, 2, (1, 1), 4, id="odd size, stride 2: alike"),
        pytest.param(14, 5, 1, (2, 2), 14, id="stride 1: alike"),
        pytest.param(7, 1, 1, (0, 0), 7, id="a kernel of one pixel"),
        pytest.param(8, 1, 2, (0, 0), 4, id="a kernel smaller than the stride"),
    ],
)
def test_same_padding(
    size: int, kernel: int, stride: int, padding: tuple[int, int], outputs: int
) -> None:
    assert same_padding(size, kernel, stride) == padding
    assert outputs_of(size, stride) == outputs
    assert (size + sum(padding) - kernel) // stride + 1 == outputs
