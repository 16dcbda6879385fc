"""Cut the photographs of plenoptax.data out of those in the scikit-image wheel.

Run from the repository root: ``python tests/reference/make_photographs.py``. Needs scikit-image
0.26 and imageio. Writes plenoptax/data/photographs/*.png; the README.md beside them says where they
come from.
"""

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import skimage


SOURCE = Path(skimage.__file__).parent / "data"
TARGET = Path(__file__).parents[2] / "plenoptax" / "data" / "photographs"

# First row and column of a 256x256 crop at native resolution, or None: the mean of each block of
# 2x2 pixels of the whole 512x512 photograph.
CROPS = {
    "astronaut": None,
    "brick": None,
    "camera": None,
    "chelsea": (22, 120),
    "grass": (116, 256),
    "gravel": (128, 128),
}


def photograph(name):
    pixels = iio.imread(SOURCE / f"{name}.png")
    if CROPS[name] is None:
        blocks = pixels.reshape(256, 2, 256, 2, -1).astype(np.float64)
        return np.rint(blocks.mean(axis=(1, 3))).astype(np.uint8).squeeze()
    row, column = CROPS[name]
    return pixels[row : row + 256, column : column + 256]


if __name__ == "__main__":
    for name in CROPS:
        iio.imwrite(TARGET / f"{name}.png", photograph(name), optimize=True)
