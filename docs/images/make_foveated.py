"""Make the picture of foveated metamers, from the images that the benchmark keeps.

python -m benchmarks.foveated --images foveated.npz
python docs/images/make_foveated.py foveated.npz
"""

import pathlib
import sys

import numpy as np
from canvas import Canvas

import plenoptax as plx


sys.path.append(str(pathlib.Path(__file__).parents[2] / "benchmarks"))
from foveated import FIXATION, make, SETTINGS


SIDE, GAP, HEAD = 256, 12, 34


def draw_windows(page, place, kind):
    """The photograph with the contours of windows, about as far apart as they are wide."""
    windows, *_ = make(kind)
    image = plx.data.get(SETTINGS[kind].photograph, as_gray=True)
    step = 1 if kind == "texture" else 2
    ring, direction = np.divmod(np.asarray(windows.kept), windows.layout.num_directions)
    chosen = np.flatnonzero((ring % step == 0) & (direction % step == 0))
    axes = page.axes(*place, SIDE, SIDE)
    plx.plot.windows(windows, image, ax=axes, indices=chosen, linewidths=0.6)
    axes.plot(*FIXATION[::-1], "+", color="red", markersize=6)


def draw(images):
    """What windows average, and what else has the same averages."""
    page = Canvas(3 * SIDE + 2 * GAP + 4, 2 * (SIDE + HEAD) + GAP)
    rows = (
        ("energy", ("luminance, noise", "energy, noise")),
        ("texture", ("texture, noise", "texture, photograph")),
    )
    for index, (kind, names) in enumerate(rows):
        top = HEAD + index * (SIDE + HEAD + GAP)
        which = "windows" if kind == "texture" else "every other window"
        words = f"photograph;\n{kind} model: {which}, {SETTINGS[kind].scaling:g}"
        page.text(2 + SIDE / 2, top - 5, words, va="bottom")
        draw_windows(page, (2, top), kind)
        for column, name in enumerate(names, start=1):
            model, start = name.split(", ")
            left = 2 + column * (SIDE + GAP)
            page.image(left, top, images[name][0], 1)
            start = {"noise": "white noise", "photograph": "another photograph"}[start]
            # Texture has not converged; see the benchmark.
            same = "near the same" if model == "texture" else "same"
            scaling = SETTINGS[model].scaling
            words = f"{same} {model} in windows\nof scaling {scaling:g}, from {start}"
            page.text(left + SIDE / 2, top - 5, words, va="bottom")
    page.save(pathlib.Path(__file__).with_name("foveated.png"))


if __name__ == "__main__":
    with np.load(sys.argv[1]) as found:
        draw(dict(found))
