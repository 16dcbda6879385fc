"""Time the animation of a synthesis: the status in three panels, frame by frame.

Run it as ``python benchmarks/animation.py [--quick]``. It makes a metamer of 256 x 256 pixels, with
a picture of each step, and writes its animation as HTML and as GIF; neither needs ffmpeg. It first
checks that an updated figure shows what one that is drawn anew does. Where plenoptic is installed,
its animation is timed as HTML, too. Times are in seconds.
"""

import pathlib
import sys
import tempfile
import time

import jax
import matplotlib


matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np

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


def timed(function):
    start = time.perf_counter()
    function()
    plt.close("all")
    return time.perf_counter() - start


def ours(result):
    def save_gif():
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "animation.gif"
            plx.plot.synthesis_animate(result).save(path, writer="pillow")

    return {
        "plenoptax, HTML": timed(lambda: plx.plot.synthesis_animate(result)._repr_html_()),
        "plenoptax, GIF": timed(save_gif),
    }


def theirs(image, steps):
    try:
        import plenoptic
        import torch
    except ImportError:
        return {}
    image = torch.from_numpy(np.array(image))[None]
    model = plenoptic.models.Gaussian(7).eval()
    plenoptic.remove_grad(model)
    metamer = plenoptic.Metamer(image, model)
    metamer.synthesize(max_iter=steps, store_progress=1)
    return {"plenoptic, HTML": timed(lambda: plenoptic.plot.synthesis_animate(metamer).to_jshtml())}


def main():
    steps = 20 if "--quick" in sys.argv else 100
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
    print(f"| {steps} frames | seconds |\n|---|---|")
    for name, seconds in (ours(result) | theirs(image, steps)).items():
        print(f"| {name} | {seconds:.1f} |")


if __name__ == "__main__":
    main()
