"""Make the picture of the start page, which can be read on a phone: photographs and metamers.

python docs/images/make_landing.py
"""

import pathlib

import jax
from canvas import Canvas

import plenoptax as plx


NAMES = ("brick", "gravel")
SIDE, GAP, HEAD = 200, 12, 40
HEADS = ("photograph", "metamer", "only its spectrum")


def compute_row(name):
    """A photograph, a metamer of its texture statistics, and noise with its amplitude spectrum."""
    image = plx.data.get(name)
    model = plx.models.PortillaSimoncelli(image.shape[-2:])
    result = plx.metamer(image, model, key=jax.random.key(0), progress=False)
    noise = plx.data.spectral_noise(image, key=jax.random.key(0))
    print(name, result.report())
    return [panel[0, :SIDE, :SIDE] for panel in (image, result.image, noise)]


if __name__ == "__main__":
    step = SIDE + GAP
    page = Canvas(3 * step - GAP, HEAD + 2 * step - GAP)
    for column, head in enumerate(HEADS):
        page.text(column * step + SIDE / 2, HEAD - 10, head, va="bottom", size=15)
    for row, name in enumerate(NAMES):
        for column, panel in enumerate(compute_row(name)):
            page.image(column * step, HEAD + row * step, panel)
    page.save(pathlib.Path(__file__).with_name("landing.png"))
