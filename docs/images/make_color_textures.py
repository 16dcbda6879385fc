"""Make a page of color textures and their metamers.

python docs/images/make_color_textures.py
"""

import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import skimage.data
from canvas import Canvas

import plenoptax as plx


sys.path.append(str(pathlib.Path(__file__).parents[2] / "benchmarks"))

from color_textures import draw, TEXTURES


SIDE, GAP, STEPS = 128, 8, 200
CROPS = {
    "stain": (skimage.data.immunohistochemistry, 16, 32),
    "nuclei": (skimage.data.immunohistochemistry, 190, 100),
    "fur": (skimage.data.chelsea, 140, 30),
    "wood": (skimage.data.coffee, 0, 0),
}


def make_targets():
    """Two samples of each drawn texture, and four photographs."""
    targets = {
        f"{name}, {seed + 1}": draw(name, SIDE, seed) for seed in (0, 1) for name in TEXTURES
    }
    for name, (photograph, row, column) in CROPS.items():
        crop = photograph()[row : row + SIDE, column : column + SIDE]
        targets[name] = np.moveaxis(crop, -1, 0).astype(np.float32) / 255
    return targets


def main():
    """Five columns of two pairs, each sample above its metamer."""
    targets, model = make_targets(), plx.models.ColorPortillaSimoncelli((SIDE, SIDE))
    height = 2 * SIDE + GAP + 34
    page = Canvas(5 * (SIDE + GAP) + GAP + 60, 2 * height + GAP)
    for index, (name, target) in enumerate(targets.items()):
        result = plx.metamer(
            jnp.asarray(target), model, key=jax.random.key(index), max_steps=STEPS, progress=False
        )
        row, column = divmod(index, 5)
        x, y = 60 + GAP + column * (SIDE + GAP), GAP + row * height
        page.text(x + SIDE / 2, y + 12, name, va="bottom")
        page.image(x, y + 16, target)
        page.image(x, y + 16 + SIDE + GAP, np.asarray(result.image))
        print(name, f"{float(result.trace.losses[-1]):.3g}", flush=True)
        if column == 0:
            for number, words in enumerate(("sample", "metamer")):
                page.text(34, y + 16 + number * (SIDE + GAP) + SIDE / 2, words, va="center")
    page.save(pathlib.Path(__file__).with_name("color_textures.png"))


if __name__ == "__main__":
    main()
