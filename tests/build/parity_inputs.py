"""Nothing in, the pictures and texts of the parity tests out: by formula, so no file is needed."""

import numpy as np
from numpy.typing import NDArray

SIZE_PX = 224
TEXTS = (
    "a photo of a tabby cat",
    "a photo of a missile",
    "Two dogs are running along the beach, and a third one looks on!",
    "naïve café, 30 km",
    "x",
)


def pictures() -> NDArray[np.uint8]:
    """uint8 [5, 224, 224, 3]: flat, ramps, rings, stripes and a patchwork, each in colour."""
    y, x = np.mgrid[0:SIZE_PX, 0:SIZE_PX].astype(np.int64)
    rings = (x - 112) ** 2 + (y - 100) ** 2
    formulas = (
        (x * 0 + 128, x * 0 + 40, x * 0 + 200),
        (x, y, (x + y) // 2),
        (rings // 40 % 256, rings // 60 % 256, rings // 90 % 256),
        (x // 8 % 2 * 255, (x + y) // 12 % 2 * 255, y // 5 % 2 * 255),
        (x // 28 * 37 % 256, y // 28 * 91 % 256, (x // 28 * 5 + y // 28 * 17) * 29 % 256),
    )
    stacked = [np.stack(channels, axis=-1) for channels in formulas]
    return np.stack(stacked).astype(np.uint8)
