"""Time the animation of a synthesis: the status in three panels, frame by frame.

Run it as ``python -m benchmarks.animation [--quick] [--pairs N]``. It makes a metamer of 256 x 256
pixels, with a picture of each step, and writes its animation as HTML and as GIF; neither needs
ffmpeg. It first checks that an updated figure shows what a newly drawn one does. Where plenoptic is
installed, the two libraries animate in turn. matplotlib's limit on the size of HTML is raised for
both, because it leaves out frames (with noise, all after the fortieth); the numbers of frames are
compared. Times are in seconds: medians (range) of wall time, and medians of CPU time.
"""

import argparse
import pathlib
import re
import statistics
import tempfile
import time

import jax
import matplotlib


matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
from PIL import Image, ImageSequence

import plenoptax as plx


def check(result):
    """The last frame must show what the status of the last step does."""
    animation = plx.plot.synthesis_animate(result, rescale_ylim="rescale1")
    animation.to_jshtml()
    afresh = plx.plot.synthesis_status(result)
    for moved, drawn in zip(animation._fig.axes, afresh.axes, strict=True):
        for one, other in zip(moved.images, drawn.images, strict=True):
            np.testing.assert_allclose(one.get_array(), other.get_array(), atol=1e-6)
            np.testing.assert_allclose(one.get_clim(), other.get_clim(), rtol=1e-5)
        for one, other in zip(moved.lines, drawn.lines, strict=True):
            np.testing.assert_allclose(one.get_xydata(), other.get_xydata())
        if moved.get_title() != drawn.get_title():
            raise AssertionError(f"{moved.get_title()!r} is not {drawn.get_title()!r}.")
    plt.close("all")


def timed(function, times):
    wall, cpu = time.perf_counter(), time.process_time()
    count = function()
    times.append((time.perf_counter() - wall, time.process_time() - cpu))
    plt.close("all")
    return count


def write_html(animation):
    """Return the number of frames in the HTML."""
    return len(re.findall(r"frames\[\d+\] = ", animation.to_jshtml()))


def write_gif(animation):
    """Return the number of frames in the GIF, apart from repeated ones, which Pillow merges."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "animation.gif"
        animation.save(path, writer="pillow")
        return len(list(ImageSequence.Iterator(Image.open(path))))


def animations(result, image, steps):
    """Return functions that animate the same steps, by library."""
    ours = {"plenoptax": lambda: plx.plot.synthesis_animate(result)}
    try:
        import plenoptic
        import torch
    except ImportError:
        return ours
    image = torch.from_numpy(np.array(image))[None]
    model = plenoptic.models.Gaussian(7).eval()
    plenoptic.remove_grad(model)
    metamer = plenoptic.Metamer(image, model)
    metamer.synthesize(max_iter=steps, store_progress=1)
    return ours | {"plenoptic": lambda: plenoptic.plot.synthesis_animate(metamer)}


def compare(kind, write, makers, pairs):
    times = {name: [] for name in makers}
    for _ in range(pairs):
        counts = {
            name: timed(lambda make=make: write(make()), times[name])
            for name, make in makers.items()
        }
        if max(counts.values()) - min(counts.values()) > 1:
            raise SystemExit(f"the numbers of frames differ: {counts}")
    for name, pairs_of_times in times.items():
        wall, cpu = zip(*pairs_of_times, strict=True)
        spread = f"{statistics.median(wall):.1f} ({min(wall):.1f}-{max(wall):.1f})"
        row = [f"{name}, {kind}", str(counts[name]), spread, f"{statistics.median(cpu):.1f}"]
        print("| " + " | ".join(row) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="20 frames, one pair")
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    steps, pairs = (20, 1) if options.quick else (100, options.pairs)
    matplotlib.rcParams["animation.embed_limit"] = 1000.0
    image = plx.data.brick()
    result = plx.metamer(
        image,
        plx.models.Gaussian(7),
        key=jax.random.key(0),
        max_steps=steps,
        record=1,
        progress=False,
    )
    check(result)
    makers = animations(result, image, steps)
    print("| | frames | wall | CPU |\n|---|---|---|---|")
    compare("HTML", write_html, makers, pairs)
    compare("GIF", write_gif, makers, pairs)


if __name__ == "__main__":
    main()
