"""How long foveated metamers take until their errors are small at every eccentricity.

Each row is a process of its own: a model, and where its synthesis starts. After every 50
evaluations the image is judged in three bands of eccentricity. The error of a group of statistics
is the root mean square of its differences from the photograph, each in units of the standard
deviation over five unrelated photographs in the same windows of the same band. A row ends when the
error of every group is below 5 % in every band, or at the limit. "twice the scaling" is a metamer
of windows of twice the scaling, judged with the windows of the model.

    python -m benchmarks.foveated --images foveated.npz
"""

import argparse
import pathlib
import resource
import subprocess
import sys
import tempfile
import time
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import plenoptax as plx


GOAL = 0.05
EVERY = 50
STARTS = ("noise", "photograph", "twice the scaling")
# Row and column where a person would look.
FIXATION = (78.0, 112.0)


class Setting(NamedTuple):
    """A model and its target.

    Attributes:
        photograph: The name of the target.
        scaling: The scaling of the windows.
        pinned: The eccentricity below which pixels are those of the photograph. By default there
            windows are narrower than two pixels.
        limit: The limit of evaluations.
    """

    photograph: str
    scaling: float
    pinned: float | None
    limit: int


# Texture needs windows of several pixels for each statistic. Windows of "sky" are nearly constant.
SETTINGS = {
    "luminance": Setting("camera", 0.058, None, 600),
    "energy": Setting("camera", 0.27, None, 600),
    "texture": Setting("chelsea", 1.0, 48.0, 1000),
    "sky": Setting("camera", 1.0, 48.0, 1000),
}


def make(kind, factor=1.0):
    """The windows, the model, and the pixels that a synthesis may change.

    Args:
        kind: Which setting.
        factor: Multiplies the scaling.
    """
    setting = SETTINGS[kind]
    scaling, aspect = factor * setting.scaling, 2
    inner = setting.pinned or 2 * aspect / scaling
    is_texture = kind in ("texture", "sky")
    windows = plx.models.log_polar_windows(
        (256, 256),
        scaling,
        inner,
        256,
        aspect=aspect,
        center=FIXATION,
        profile="raised_cosine" if is_texture else "gaussian",
    )
    if kind == "luminance":
        model = plx.models.PooledLuminance(windows)
    elif kind == "energy":
        model = plx.models.PooledEnergy(windows)
    else:
        model = plx.models.PooledPortillaSimoncelli(windows, 3, 4, 5)
    y, x = np.mgrid[:256, :256]
    return windows, model, np.hypot(y - FIXATION[0], x - FIXATION[1])[None] > inner


class Judge:
    """The errors of images, by band of eccentricity and group of statistics."""

    def __init__(self, kind, windows, model, image):
        self.model = jax.jit(lambda image: model(image))
        self.target = self.measure(image)
        names = [name for name in plx.data.PHOTOGRAPHS if name != SETTINGS[kind].photograph]
        photographs = [plx.data.get(name, as_gray=True) for name in names]
        self.variance = np.var([self.measure(one) for one in photographs], axis=0, ddof=1)
        groups = ("luminance",) if kind == "luminance" else model.statistic_groups
        self.groups = np.array(groups)
        rings = np.asarray(windows.kept) // windows.layout.num_directions
        edges = np.linspace(rings.min(), rings.max() + 1, 4)
        self.bands = np.digitize(rings, edges) - 1

    def measure(self, image):
        """The representation of one channel, with an axis of statistics."""
        found = np.asarray(self.model(jnp.asarray(image)), float)[0]
        return found.reshape(len(found), -1)

    def __call__(self, image):
        """The largest error of any group, in each band."""
        squares = (self.measure(image) - self.target) ** 2
        worst = []
        for band in range(3):
            inside = self.bands == band
            variance = self.variance[inside].mean(0)
            share = squares[inside].mean(0) / np.where(variance == 0, 1, variance)
            errors = {
                name: np.sqrt(share[(self.groups == name) & (variance > 0)].mean())
                for name in dict.fromkeys(self.groups)
                if (variance[self.groups == name] > 0).any()
            }
            worst.append(max((error, name) for name, error in errors.items()))
        return worst


def synthesize(kind, start, file):
    """Print one row, and keep the image."""
    setting = SETTINGS[kind]
    image = plx.data.get(setting.photograph, as_gray=True)
    windows, model, is_free = make(kind)
    judge = Judge(kind, windows, model, image)
    other = plx.data.astronaut(as_gray=True)
    noise = jax.random.uniform(jax.random.key(0), image.shape)
    initial = other if start == "photograph" else noise
    used, is_used_free = model, is_free
    if start == "twice the scaling":
        _, used, is_used_free = make(kind, 2.0)
    began, began_cpu = time.perf_counter(), time.process_time()
    fixed = plx.parametrize.Masked(is_used_free, image)
    problem = plx.Metamer(image, used, parametrization=fixed)
    solver = plx.Solver(plx.lbfgs(30), stop=plx.stop.Never())
    state = plx.init(problem, solver, initial_image=initial)
    first, count = judge(problem.decode(state.accepted_z)), 0
    while count < (setting.limit if used is model else setting.limit // 2):
        state, _ = plx.run(problem, solver, state, EVERY)
        count += EVERY
        made = problem.decode(state.accepted_z)
        worst = judge(made)
        if used is model and max(worst)[0] < GOAL:
            break
    number = int(model.is_measured.sum()) if kind in ("texture", "sky") else judge.target.size
    wall, cpu = time.perf_counter() - began, time.process_time() - began_cpu
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cells = [
        kind,
        f"{setting.scaling:g}",
        start,
        f"{number} / {int(is_free.sum())}",
        " ".join(f"{100 * error:.0f}" for error, _ in first),
        " ".join(f"{100 * error:.1f}" for error, _ in worst),
        max(worst)[1].replace("_", " "),
        str(count),
        f"{cpu:.0f}",
        f"{wall:.0f}",
        f"{memory:.0f}",
    ]
    print("| " + " | ".join(cells) + " |", flush=True)
    np.savez(file, image=np.asarray(made), free=is_free)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kinds", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--images", help="a file for the images, for docs/images/make_foveated.py")
    parser.add_argument("--row", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        synthesize(*options.row)
        return
    print(
        "| model | scaling | start | statistics / free pixels | start, % | end, % | "
        "largest in | evaluations | CPU s | wall s | peak MiB |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|---|", flush=True)
    images = {}
    with tempfile.TemporaryDirectory() as folder:
        for kind in options.kinds:
            for start in STARTS if kind != "sky" else STARTS[:1]:
                file = pathlib.Path(folder) / "row.npz"
                row = [sys.executable, __file__, "--row", kind, start, str(file)]
                subprocess.run(row, check=True)
                with np.load(file) as found:
                    images[f"{kind}, {start}"] = found["image"]
    if options.images:
        np.savez_compressed(options.images, **images)


if __name__ == "__main__":
    main()
