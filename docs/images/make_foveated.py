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
from foveated import crop, FIXATION, make, SETTINGS


SIDE, GAP, HEAD = 256, 12, 34


def draw_windows(page, place, kind):
    """The photograph with the contours of windows, about as far apart as they are wide."""
    size, scaling, _ = SETTINGS[kind]
    windows, _, _ = make(kind, scaling, size)
    image, first = crop(plx.data.camera(), size)
    step = 1 if kind == "texture" else 2
    ring, direction = np.divmod(np.asarray(windows.kept), windows.layout.num_directions)
    chosen = np.flatnonzero((ring % step == 0) & (direction % step == 0))
    axes = page.axes(*place, SIDE, SIDE)
    plx.plot.windows(windows, image, SIDE // size, ax=axes, indices=chosen, linewidths=0.6)
    row, column = np.subtract(FIXATION, first)
    axes.plot(column, row, "+", color="red", markersize=6)


def draw(images):
    """What windows average, and what else has the same averages."""
    page = Canvas(3 * SIDE + 2 * GAP + 4, 2 * (SIDE + HEAD) + GAP)
    rows = (
        ("energy", ("luminance, noise", "energy, noise")),
        ("texture", ("texture, noise", "texture, photograph")),
    )
    for index, (kind, names) in enumerate(rows):
        top = HEAD + index * (SIDE + HEAD + GAP)
        size, scaling, _ = SETTINGS[kind]
        which = "windows" if kind == "texture" else "every other window"
        words = f"photograph, {size} x {size} pixels;\n{kind} model: {which}, {scaling:g}"
        page.text(2 + SIDE / 2, top - 5, words, va="bottom")
        draw_windows(page, (2, top), kind)
        for column, name in enumerate(names, start=1):
            model, start = name.split(", ")
            left = 2 + column * (SIDE + GAP)
            image = images[name][0]
            page.image(left, top, image, SIDE // len(image))
            start = {"noise": "white noise", "photograph": "another photograph"}[start]
            # Texture has not converged; see the benchmark.
            same = "near the same" if model == "texture" else "same"
            words = f"{same} {model} in windows\nof scaling {SETTINGS[model][1]:g}, from {start}"
            page.text(left + SIDE / 2, top - 5, words, va="bottom")
    page.save(pathlib.Path(__file__).with_name("foveated.png"))


if __name__ == "__main__":
    with np.load(sys.argv[1]) as found:
        draw(dict(found))
