"""Make the first picture of the README: textures, their metamers, and what fails to be one.

python docs/images/make_textures.py
"""

import pathlib
import time

import jax
import numpy as np
from canvas import Canvas

import plenoptax as plx


NAMES = ("brick", "grass", "gravel")
NUM_SEEDS = 3
GROUP = "auto_correlation_magnitude"
WIDTH, HEIGHT = 132, 150
LEFT = (2, 146, 282, 418, 562, 702)
HEADS = (
    "photograph",
    *(f"metamer, seed {seed}" for seed in range(NUM_SEEDS)),
    "noise with the\nsame spectrum",
    "metamer without one\ngroup of statistics",
)


def synthesize(image, model, seed):
    """A metamer, and the seconds it took, with the compilation of the first of all."""
    began = time.perf_counter()
    result = plx.metamer(image, model, key=jax.random.key(seed), progress=False)
    return result, f"{time.perf_counter() - began:.0f} s, "


def tile(result, problem, seconds=""):
    """The image of a result, and what is written under it: all judged by one problem."""
    judged = plx.Result(problem, result.state, result.trace).report()
    error = judged.groups[GROUP].z_error
    failed = sum(group.passes is False for group in judged.groups.values())
    return np.asarray(result.image[0]), f"{seconds}{failed} groups fail\nerror {error:#.2g}"


def compute_row(name):
    """The tiles of one photograph."""
    image = plx.data.get(name)
    model = plx.models.PortillaSimoncelli(image.shape[-2:])
    ablated = plx.models.PortillaSimoncelli(image.shape[-2:], weights={GROUP: 0})
    problem = plx.Metamer(image, model)
    tiles = [(np.asarray(image[0]), f"{name}\n")]
    for seed in range(NUM_SEEDS):
        result, seconds = synthesize(image, model, seed)
        tiles.append(tile(result, problem, seconds))
    noise = plx.data.spectral_noise(image, key=jax.random.key(0))
    unchanged = plx.metamer(image, model, initial_image=noise, max_steps=0, progress=False)
    tiles.append(tile(unchanged, problem))
    result, seconds = synthesize(image, ablated, 0)
    tiles.append(tile(result, problem, seconds))
    return tiles


def draw(rows):
    """The upper left parts of all, as large as fits."""
    step = HEIGHT + 42
    page = Canvas(LEFT[-1] + WIDTH + 2, 34 + len(rows) * step)
    for x, head in zip(LEFT, HEADS, strict=True):
        page.text(x + WIDTH / 2, 29, head, va="bottom")
    for y, row in zip(range(34, page.height, step), rows, strict=True):
        for x, (image, label) in zip(LEFT, row, strict=True):
            page.image(x, y, image[:HEIGHT, :WIDTH])
            page.text(x + WIDTH / 2, y + HEIGHT + 5, label)
    page.save(pathlib.Path(__file__).with_name("textures.png"))


if __name__ == "__main__":
    draw([compute_row(name) for name in NAMES])
