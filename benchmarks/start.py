"""Time the start of both libraries, each in a process of its own, and measure its memory.

    python -m benchmarks --only import start memory

``import``: from the start of the process to its end, with nothing else in it. Both import their
parts on first use, so it is measured again with all that a metamer needs. ``start``: to the first
finished step of a texture metamer of 256 x 256 pixels, with an empty compilation cache, and with
one that is filled. ``memory``: the peak of the resident set after 30 steps of it.
"""

import argparse
import functools
import json
import pathlib
import subprocess
import sys
import time

import numpy as np

from benchmarks.load import peak_memory
from benchmarks.shared import (
    keep_programs,
    LIBRARIES,
    ROOT,
    take_syntheses,
    THREADS,
    use_threads,
)


# Names are imported on first use.
NEEDED = {
    "plenoptic": "x.Metamer, x.models.PortillaSimoncelli",
    "plenoptax": "x.metamer, x.models.PortillaSimoncelli",
}


def make_start(options):
    """Write a photograph and its starting image."""
    import plenoptax as plx

    image = np.asarray(plx.data.brick())[:, : options.size, : options.size]
    noise = np.random.default_rng(0).uniform(size=image.shape)
    np.save(options.folder / "image.npy", image)
    np.save(options.folder / "start.npy", (image.mean() + 0.1 * (noise - 0.5)).astype(np.float32))
    return {}


def run_plenoptic(options):
    use_threads(options.threads)
    import plenoptic as po
    import torch

    image, start = (
        torch.from_numpy(np.load(options.folder / f"{name}.npy"))[None]
        for name in ("image", "start")
    )
    model = po.models.PortillaSimoncelli(image.shape[-2:])
    metamer = po.Metamer(image, model, loss_function=po.loss.l2_norm)
    metamer.setup(start)
    metamer.synthesize(options.steps, stop_criterion=0)
    metamer.metamer.detach().numpy()
    return {"loss": float(metamer.losses[0])}


def run_plenoptax(options):
    keep_programs(options.cache)
    import jax
    import jax.numpy as jnp

    import plenoptax as plx

    image, start = (
        jnp.asarray(np.load(options.folder / f"{name}.npy")) for name in ("image", "start")
    )
    result = plx.metamer(
        image,
        plx.models.PortillaSimoncelli(image.shape[-2:]),
        plx.loss.l2_norm,
        initial_image=start,
        solver=plx.Solver(plx.amsgrad(0.01), stop=plx.stop.Never()),
        max_steps=options.steps,
        progress=False,
    )
    jax.block_until_ready(result.image)
    return {"loss": float(result.trace.losses[0])}


def _take(turns, is_quick, steps, quantity):
    def check(theirs, ours, agree, case, folder):
        agree("loss of the starting image", ours["loss"], theirs["loss"], 1e-3)

    size = 128 if is_quick else 256
    cases = {f"{size} x {size} pixels": {"size": size, "steps": steps}}
    name = {"s": "seconds", "MiB": "MiB"}[quantity]
    take_syntheses(turns, "start", cases, check, lambda run: {quantity: run[name]})


def take_starts(turns, is_quick):
    _take(turns, is_quick, 1, "s")


def take_memory(turns, is_quick):
    _take(turns, is_quick, 3 if is_quick else 30, "MiB")


def take_imports(turns, is_quick):
    def run(library, names, pair):
        # Not a role of this file, which imports NumPy.
        program = (
            f"import {library} as x; {names}\n"
            "from benchmarks.load import peak_memory; print(peak_memory())"
        )
        start = time.perf_counter()
        peak = subprocess.check_output([sys.executable, "-c", program], cwd=ROOT, text=True)
        seconds = time.perf_counter() - start
        return {library: {"s": seconds, "MiB": float(peak)}}

    turns.take(
        {
            "import": [functools.partial(run, library, "0") for library in LIBRARIES],
            "what a metamer needs": [functools.partial(run, *item) for item in NEEDED.items()],
        }
    )


ROLES = {
    "start": make_start,
    "plenoptic": run_plenoptic,
    "plenoptax": run_plenoptax,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--role", choices=list(ROLES), required=True)
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--cache", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=THREADS[-1])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=1)
    options = parser.parse_args()
    print(json.dumps(ROLES[options.role](options) | {"MiB": peak_memory()}))


if __name__ == "__main__":
    main()
