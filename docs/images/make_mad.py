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
        print(f"{name}: {result.trace.provenance['wall_time']:.0f} s")
        departure = 100 * (np.asarray(held) / float(result.problem.reference_value) - 1)
        tiles[name] = (np.asarray(result.image[0]), measured(photograph, result.image), departure)
    return tiles


def draw(tiles):
    """The diamond: across, the squared error is the same; down, the similarity is."""
    across, down = (832 - 3 * SIDE) // 2, SIDE + 96
    page = Canvas(836, 2 * down + SIDE + 68)
    middle, far = 2 + SIDE + across, 2 + 2 * (SIDE + across)
    places = {
        "photograph": (2, 0),
        "metric2_min": (middle, 0),
        "metric1_max": (2, down),
        "start": (middle, down),
        "metric1_min": (far, down),
        "metric2_max": (middle, 2 * down),
    }
    for name, (x, y) in places.items():
        image, label, departure = tiles[name]
        page.image(x, y, image)
        page.text(x + SIDE / 2, y + SIDE + 4, label, size=9)
        if departure is not None:
            held = "MSE" if name.startswith("metric1") else "SSIM"
            draw_held(page, x, y + SIDE + 24, held, departure)
    gap, center = across / 2, down + SIDE / 2
    for x, y, words in (
        (middle - gap, center, "$\\longleftarrow$\nlower SSIM,\nsame MSE"),
        (far - gap, center, "$\\longrightarrow$\nhigher SSIM,\nsame MSE"),
        (middle + SIDE + gap, down - 68, "$\\uparrow$\nlower MSE,\nsame SSIM"),
        (middle + SIDE + gap, 2 * down - 34, "higher MSE,\nsame SSIM\n$\\downarrow$"),
    ):
        page.text(x, y, words, size=10, va="center")
    page.save(pathlib.Path(__file__).with_name("mad.png"))


def draw_held(page, x, y, held, departure):
    """The trace of what is held, in percent of its value at the start."""
    axes = page.axes(x + 36, y, SIDE - 48, 26)
    axes.plot(departure, color="black", lw=1.2)
    last = len(departure) - 1
    axes.set(ylim=(-1, 1), xlim=(0, last), yticks=(-1, 0, 1), xticks=(0, last))
    axes.set_yticklabels(["-1 %", held, "+1 %"])


if __name__ == "__main__":
    draw(compute())
