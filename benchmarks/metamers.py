"""Time metamers by Adam, plenoptic's and plenoptax's, and a batch beside single runs.

``gaussian``: 500 steps for a metamer of a 31-tap Gaussian model. ``coarse_to_fine``: 500 steps for
one of the Portilla-Simoncelli model, coarse to fine, 7 steps a scale. Both at 256 x 256 in float32
by plenoptic's default optimizer (Adam with amsgrad, rate 0.01), from one start, read from a file,
with no early stop. Each run is a process of its own, timed from posing the problem to the final
image, compilation counted; the libraries take turns. plenoptax runs cold, with an empty compilation
cache, and warm, with the one that is left. Losses are compared before times.

``batch``: 16 metamers of the luminance gain control model in one batch, beside 16 runs one after
another in the same process, all compiled before.

    python -m benchmarks.metamers --repeats 3 --threads 1 2
"""

import argparse
import functools
import json
import pathlib
import statistics
import tempfile
import time

from benchmarks.shared import (
    agree,
    keep_programs,
    run_child,
    summarize,
    take_syntheses,
    use_threads,
)


CASES = {"gaussian": "camera", "coarse_to_fine": "grass"}


def run_plenoptic(options):
    use_threads(options.threads[0])
    import numpy as np
    import plenoptic as po
    import torch

    image = torch.from_numpy(np.load(options.folder / "image.npy"))[None]
    start = torch.from_numpy(np.load(options.folder / "start.npy"))[None]
    began = time.perf_counter()
    if options.case == "gaussian":
        model = po.models.Gaussian((31, 31))
        po.remove_grad(model)
        metamer = po.Metamer(image, model.eval())
        metamer.setup(start)
        metamer.synthesize(options.steps, stop_criterion=0)
    else:
        model = po.models.PortillaSimoncelli(image.shape[-2:])
        metamer = po.MetamerCTF(image, model.eval(), loss_function=po.loss.l2_norm)
        metamer.setup(start)
        metamer.synthesize(
            options.steps, stop_criterion=0, change_scale_criterion=None, ctf_iters_to_check=7
        )
    metamer.metamer.detach().numpy()
    return {"seconds": time.perf_counter() - began, "losses": metamer.losses.tolist()}


def run_plenoptax(options):
    keep_programs(options.cache)
    import jax.numpy as jnp
    import numpy as np

    import plenoptax as plx

    image, start = (jnp.asarray(np.load(options.folder / f"{n}.npy")) for n in ("image", "start"))
    began = time.perf_counter()
    common = {
        "initial_image": start,
        "solver": plx.Solver(plx.amsgrad(0.01), stop=plx.stop.Never()),
        "max_steps": options.steps,
        "progress": False,
    }
    if options.case == "gaussian":
        result = plx.metamer(image, plx.models.Gaussian((31, 31)), **common)
        losses = result.trace.losses
    else:
        result = plx.metamer_ctf(
            image,
            plx.models.PortillaSimoncelli(image.shape[-2:]),
            plx.loss.l2_norm,
            change_scale_criterion=None,
            ctf_iters_to_check=7,
            **common,
        )
        losses = result.trace.terms["loss_of_all_scales"]
        losses = losses + 0.1 * result.trace.penalties
    np.asarray(result.image)
    return {"seconds": time.perf_counter() - began, "losses": losses.tolist()}


def run_batch(options):
    import jax
    import jax.numpy as jnp
    import optax

    import plenoptax as plx

    photographs = [plx.data.get(name, as_gray=True) for name in plx.data.PHOTOGRAPHS]
    images = jnp.stack([jnp.roll(photographs[i % 6], 16 * i, -1) for i in range(16)])
    starts = jax.random.uniform(jax.random.key(0), images.shape)
    model = plx.models.LuminanceGainControl((31, 31), pretrained=True)
    solver = plx.Solver(optax.adam(0.01), stop=plx.stop.Never())
    run = functools.partial(
        plx.metamer, model=model, solver=solver, max_steps=options.steps, progress=False
    )

    def together():
        return run(images, initial_image=starts, batch=True).image

    def singly():
        return jnp.stack(
            [run(i, initial_image=s).image for i, s in zip(images, starts, strict=True)]
        )

    difference = float(jnp.abs(together() - singly()).max())
    if difference > 1e-3:
        raise SystemExit(f"the images of the batch and of single runs differ by {difference:.1e}")
    times = {together: [], singly: []}
    for _ in range(options.repeats):
        for function, seconds in times.items():
            began = time.perf_counter()
            function().block_until_ready()
            seconds.append(time.perf_counter() - began)
    return {"batch": times[together], "singles": times[singly], "difference": difference}


def make_start(options):
    """Write a photograph and its starting image."""
    import jax
    import numpy as np

    import plenoptax as plx

    image = plx.data.get(CASES[options.case])
    noise = jax.random.uniform(jax.random.key(0), image.shape)
    start = noise if options.case == "gaussian" else 0.1 * (noise - 0.5) + image.mean()
    np.save(options.folder / "image.npy", np.asarray(image, np.float32))
    np.save(options.folder / "start.npy", np.asarray(start, np.float32))
    return {}


def compare(options):
    columns = [f"plenoptic, {t} thread" + "s" * (t > 1) for t in options.threads]
    print(f"seconds for {options.steps} steps: median (range) of {options.repeats}")
    print("| metamer | " + " | ".join([*columns, "plenoptax cold", "warm", "times faster"]) + " |")
    print("|---" * (len(columns) + 4) + "|")
    for case in CASES:
        runs = {name: [] for name in [*columns, "cold", "warm"]}
        for _ in range(options.repeats):
            with tempfile.TemporaryDirectory() as temporary:
                folder, common = pathlib.Path(temporary), {"case": case, "steps": options.steps}
                run = functools.partial(run_child, "metamers", folder=folder, **common)
                run("start")
                for column, threads in zip(columns, options.threads, strict=True):
                    runs[column].append(run("plenoptic", threads=threads))
                for label in ("cold", "warm"):
                    runs[label].append(run("plenoptax", cache=folder / "cache"))
                check(runs[columns[0]][-1], runs["cold"][-1])
        seconds = {name: [run["seconds"] for run in found] for name, found in runs.items()}
        best = min(statistics.median(seconds[column]) for column in columns)
        faster = [f"{best / statistics.median(seconds[label]):.1f}" for label in ("cold", "warm")]
        row = [case, *(summarize(values) for values in seconds.values())]
        print("| " + " | ".join([*row, f"{faster[0]} cold, {faster[1]} warm"]) + " |", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        steps = {"steps": options.steps, "repeats": options.repeats}
        batch = run_child("metamers", "batch", folder=temporary, **steps)
    ratio = statistics.median(batch["batch"]) / statistics.median(batch["singles"])
    print(
        f"16 gain-control metamers: in one batch {summarize(batch['batch'])} s, singly "
        f"{summarize(batch['singles'])} s, ratio {ratio:.2f}; images alike to "
        f"{batch['difference']:.0e}"
    )


def check(theirs, ours, agree=agree, case="metamer", folder=None):
    """Refuse to compare times of runs that disagree."""
    first, last = ([run["losses"][i] for run in (ours, theirs)] for i in (0, -1))
    agree(f"first loss of the {case}", *first, 1e-3)
    # Trajectories part by rounding; where they arrive is alike.
    agree(f"last loss of the {case}", *last, 0.3)


def take_turns(turns, is_quick):
    steps = 10 if is_quick else 100
    cases = {case: {"case": case, "steps": steps} for case in CASES}
    take_syntheses(turns, "metamers", cases, check)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--role", choices=["plenoptic", "plenoptax", "start", "batch"])
    parser.add_argument("--folder", type=pathlib.Path)
    parser.add_argument("--cache", type=pathlib.Path)
    parser.add_argument("--case", choices=list(CASES))
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    if options.role is None:
        compare(options)
        return
    roles = {
        "plenoptic": run_plenoptic,
        "plenoptax": run_plenoptax,
        "start": make_start,
        "batch": run_batch,
    }
    print(json.dumps(roles[options.role](options)))


if __name__ == "__main__":
    main()
