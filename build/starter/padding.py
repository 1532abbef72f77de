"""A convolution's sizes in, the padding that TensorFlow calls "same" out."""


def outputs_of(size: int, stride: int) -> int:
    """ceil(size / stride), the kernel notwithstanding."""
    return -(-size // stride)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Pixels before and after. PyTorch pads alike on both sides; here an odd pixel comes last,
    and a network trained so sees everything half a pixel off when it is padded otherwise."""
    total = max((outputs_of(size, stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2
