"""Make the picture of a MAD competition: structural similarity against squared error.

python docs/images/make_mad.py
"""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from canvas import Canvas

import plenoptax as plx


SIDE = 192
SSIM = functools.partial(plx.metric.ssim_distance, weighted=True, pad="reflect")
NOISE = 0.08


def measured(photograph, image):
    """Both metrics, as they are printed."""
    distance, error = SSIM(photograph, image), plx.metric.mse(photograph, image)
    return f"SSIM {1 - distance:.3f}, MSE {error:.5f}"


def compute():
    """The images, their metrics, and by what percentage the held one was off at each step."""
    photograph = plx.data.camera()[:, 10 : 10 + SIDE, 30 : 30 + SIDE]
    key = jax.random.key(0)
    start = jnp.clip(photograph + NOISE * jax.random.normal(key, photograph.shape), 0, 1)
    found = plx.mad_competition_set(
        photograph,
        SSIM,
        plx.metric.mse,
        initial_image=start,
        max_steps=300,
        progress=False,
    )
    tiles = {
        "photograph": (photograph[0], "the photograph", None),
        "start": (start[0], measured(photograph, start), None),
    }
    for name, result in found._asdict().items():
        held = result.trace.terms["reference_metric"]
        print(name, "optimality", result.trace.terms["optimality"][-1], result.trace.provenance["wall_time"])
        departure = 100 * (np.asarray(held) / float(result.problem.reference_value) - 1)
        tiles[name] = (np.asarray(result.image[0]), measured(photograph, result.image), departure)
    return tiles


WORDS = {
    "metric1_max": "lower SSIM\n\nsame MSE",
    "metric1_min": "higher SSIM\n\nsame MSE",
    "metric2_min": "lower MSE,\nsame SSIM",
    "metric2_max": "higher MSE,\nsame SSIM",
}


def draw(tiles):
    """The diamond: the metric that is held is the same along each of its diagonals."""
    across, down = (836 - 3 * SIDE) // 2, SIDE + 124
    page = Canvas(836, 2 * down + SIDE + 78)
    middle = SIDE + across
    places = {
        "photograph": (0, 0),
        "metric2_min": (middle, 0),
        "metric1_max": (0, down),
        "start": (middle, down),
        "metric1_min": (2 * middle, down),
        "metric2_max": (middle, 2 * down),
    }
    for name, (x, y) in places.items():
        image, label, departure = tiles[name]
        page.image(x, y, image)
        page.text(x + SIDE / 2, y + SIDE + 5, label, size=9)
        if departure is not None:
            held = "MSE" if name.startswith("metric1") else "SSIM"
            draw_held(page, x, y + SIDE + 26, held, departure)
    page.save(pathlib.Path(__file__).with_name("mad.png"))


def draw_held(page, x, y, held, departure):
    """The trace of what is held."""
    axes = page.axes(x + 34, y, SIDE - 34, 26)
    axes.plot(departure, color="black", lw=1.2)
    axes.set(ylim=(-1, 1), xlim=(0, len(departure)), yticks=(-1, 0, 1), xticks=(0, len(departure) - 1))
    axes.set_yticklabels(["-1 %", held, "+1 %"])


if __name__ == "__main__":
    draw(compute())
