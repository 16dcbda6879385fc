"""Time the start of both libraries, each in a process of its own, and measure its memory.

    python -m benchmarks --only import start memory

``import``: from the start of the process to its end, with nothing else in it. plenoptax imports its
parts on first use, so it is measured again with all that a metamer needs. ``start``: to the first
finished step of a texture metamer of 256 x 256 pixels, with an empty compilation cache, and with
one that is filled. ``memory``: the peak of the resident set after 30 steps of it.
"""

import argparse
import functools
import json
import pathlib
import tempfile

import numpy as np

from benchmarks.shared import (
    keep_programs,
    LIBRARIES,
    peak_memory,
    run_child,
    take_syntheses,
    THREADS,
    use_threads,
)


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


def run_import(options):
    if options.library == "plenoptic":
        import plenoptic  # noqa: F401
    else:
        import plenoptax as plx

        if options.library == "plenoptax for a metamer":
            # Names are imported on first use.
            _ = plx.metamer, plx.models.PortillaSimoncelli, plx.lbfgs
    return {}


def _take(turns, is_quick, steps, quantity):
    def check(theirs, ours, agree, case, folder):
        agree("loss of the starting image", ours["loss"], theirs["loss"], 1e-3)

    size = 64 if is_quick else 256
    cases = {f"{size} x {size} pixels": {"size": size, "steps": steps}}
    name = {"s": "seconds", "MiB": "MiB"}[quantity]
    take_syntheses(turns, "start", cases, check, lambda run: {quantity: run[name]})


def take_starts(turns, is_quick):
    _take(turns, is_quick, 1, "s")


def take_memory(turns, is_quick):
    _take(turns, is_quick, 3 if is_quick else 30, "MiB")


def take_imports(turns, is_quick):
    with tempfile.TemporaryDirectory() as folder:

        def run(library, pair):
            found = run_child("start", "import", library=library, folder=folder)
            return {library: {"s": found["seconds"], "MiB": found["MiB"]}}

        libraries = (*LIBRARIES, "plenoptax for a metamer")
        turns.take({"import": [functools.partial(run, library) for library in libraries]})


ROLES = {
    "start": make_start,
    "plenoptic": run_plenoptic,
    "plenoptax": run_plenoptax,
    "import": run_import,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--role", choices=list(ROLES), required=True)
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--library")
    parser.add_argument("--cache", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=THREADS[-1])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--steps", type=int, default=1)
    options = parser.parse_args()
    print(json.dumps(ROLES[options.role](options) | {"MiB": peak_memory()}))


if __name__ == "__main__":
    main()
