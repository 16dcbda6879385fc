"""Time maximum-differentiation competitions of SSIM and MSE, plenoptic's and plenoptax's.

Both take 200 steps of the penalized objective with Adam (amsgrad, rate 0.01) from one start, read
from a file: 1 - SSIM (weighted, reflected edges) is maximized with a weight of 1e6 on the mean
squared error, at 256 x 256 pixels in float32. Each run is a process of its own, timed from posing
the problem to the final image, compilation counted; the libraries take turns. plenoptax runs
twice: cold, with an empty compilation cache, and warm, with the one that is left. Losses are
compared before times. plenoptic gets the threads that are best for it.

Then the quality: the penalized competition of plenoptax beside the constrained one, 500 steps
each, from four starts, and the constrained one again in float64 and with four times the steps.
1 - SSIM can be compared only where the errors are the same.

    python -m benchmarks.mad --repeats 5 --threads 1 2
"""

import argparse
import functools
import json
import pathlib
import statistics
import tempfile
import time

from benchmarks.shared import agree, keep_programs, run_child, take_syntheses, use_threads


WEIGHT = 1e6


def run_plenoptic(options):
    use_threads(options.threads[0])
    import numpy as np
    import plenoptic as po
    import torch

    image = torch.from_numpy(np.load(options.folder / "image.npy"))[None]
    start = torch.from_numpy(np.load(options.folder / "start.npy"))[None]

    def distance(x, y):
        return 1 - po.metric.ssim(x, y, weighted=True, pad="reflect")

    began = time.perf_counter()
    mad = po.MADCompetition(image, distance, po.metric.mse, "max", WEIGHT)
    mad.setup()
    mad._mad_image.data = start.clone()
    mad._reference_metric_target = po.metric.mse(image, start).item()
    mad.synthesize(options.steps, stop_criterion=0)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "losses": mad.losses.tolist()}


def run_plenoptax(options):
    keep_programs(options.cache)
    import jax.numpy as jnp
    import numpy as np

    import plenoptax as plx

    image = jnp.asarray(np.load(options.folder / "image.npy"))
    start = jnp.asarray(np.load(options.folder / "start.npy"))
    distance = functools.partial(plx.metric.ssim_distance, weighted=True, pad="reflect")
    began = time.perf_counter()
    result = plx.mad_competition(
        image,
        distance,
        plx.metric.mse,
        "max",
        WEIGHT,
        initial_image=start,
        solver=plx.Solver(plx.amsgrad(0.01), stop=plx.stop.Never()),
        max_steps=options.steps,
        progress=False,
    )
    np.asarray(result.image)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "losses": result.trace.losses.tolist()}


def make_start(options):
    """Write a photograph, and the photograph with noise to start from."""
    import jax
    import numpy as np

    import plenoptax as plx

    image = plx.data.camera()
    noise = jax.random.normal(jax.random.key(0), image.shape)
    np.save(options.folder / "image.npy", np.asarray(image, np.float32))
    np.save(options.folder / "start.npy", np.asarray(image + 0.04 * noise, np.float32))
    return {}


def check(theirs, ours, agree=agree, case="competition", folder=None):
    """Refuse to compare times of runs that disagree."""
    first, last = ([run["losses"][i] for run in (ours, theirs)] for i in (0, -1))
    agree(f"first loss of the {case}", *first, 1e-3)
    agree(f"last loss of the {case}", *last, 1e-2)


def take_turns(turns, is_quick):
    take_syntheses(turns, "mad", {"competition": {"steps": 10 if is_quick else 100}}, check)


def compare_times(options):
    runs = {f"plenoptic, {t} threads": [] for t in options.threads}
    runs |= {"plenoptax cold": [], "plenoptax warm": []}
    for _ in range(options.repeats):
        with tempfile.TemporaryDirectory() as temporary:
            folder = pathlib.Path(temporary)
            run = functools.partial(run_child, "mad", folder=folder, steps=options.steps)
            run("start")
            theirs = [run("plenoptic", threads=number) for number in options.threads]
            ours = [run("plenoptax", cache=folder / "cache") for _ in range(2)]
        check(theirs[0], ours[0])
        for name, run in zip(runs, theirs + ours, strict=True):
            runs[name].append(run)
    best = min(
        statistics.median(r["seconds"] for r in runs[name]) for name in list(runs)[: len(theirs)]
    )
    print(f"seconds for {options.steps} penalized steps, median (range) of {options.repeats}\n")
    print("| | seconds | times faster | last loss |\n|---|---|---|---|")
    for name, found in runs.items():
        seconds = [run["seconds"] for run in found]
        median = statistics.median(seconds)
        spread = f"{median:.2f} ({min(seconds):.2f}-{max(seconds):.2f})"
        print(f"| {name} | {spread} | {best / median:.1f} | {found[0]['losses'][-1]:.4f} |")


def compare_quality(options):
    import jax

    import plenoptax as plx

    distance = functools.partial(plx.metric.ssim_distance, weighted=True, pad="reflect")
    mse, steps = plx.metric.mse, options.quality_steps
    print(f"\n{steps} steps, each from {options.starts} starts, median (range)\n")
    print("| competition | held by | optimized at the end | largest departure | optimality |")
    print("|---|---|---|---|---|")
    for name, metrics, minmax, weight in (
        ("max 1 - SSIM", (distance, mse), "max", 1e6),
        ("min 1 - SSIM", (distance, mse), "min", 1e4),
        ("max MSE", (mse, distance), "max", 10.0),
        ("min MSE", (mse, distance), "min", 1.0),
    ):
        for kind, tradeoff, max_steps, precise in (
            (f"weight {weight:g}", weight, steps, False),
            ("constraint", None, steps, False),
            ("constraint, float64", None, steps, True),
            (f"constraint, {4 * steps} steps", None, 4 * steps, False),
        ):
            with jax.enable_x64(precise):
                rows = [
                    compete(metrics, minmax, tradeoff, max_steps, precise, seed)
                    for seed in range(options.starts)
                ]
            print("| " + " | ".join([name, kind, *summarize(rows)]) + " |", flush=True)


def compete(metrics, minmax, tradeoff, max_steps, precise, seed):
    """The metric at the end, the largest departure of the other, and the optimality."""
    import jax
    import numpy as np

    import plenoptax as plx

    solver = None
    if tradeoff is not None:
        solver = plx.Solver(plx.amsgrad(0.01), stop=plx.stop.Never())
    result = plx.mad_competition(
        plx.data.camera().astype(np.float64 if precise else np.float32),
        *metrics,
        minmax,
        tradeoff,
        key=jax.random.key(seed),
        initial_noise=0.04,
        solver=solver,
        max_steps=max_steps,
        progress=False,
    )
    terms = result.trace.terms
    held = terms["reference_metric"] / np.asarray(result.problem.reference_value)
    left = terms["optimality"][-1] if tradeoff is None else np.nan
    return terms["optimized_metric"][-1], np.abs(held - 1).max(), left


def summarize(rows):
    import numpy as np

    return [
        f"{np.median(column):.3g} ({np.min(column):.3g}-{np.max(column):.3g})"
        for column in zip(*rows, strict=True)
    ]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--role", choices=["plenoptic", "plenoptax", "start"])
    parser.add_argument("--folder", type=pathlib.Path)
    parser.add_argument("--cache", type=pathlib.Path)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--quality-steps", type=int, default=500)
    parser.add_argument("--starts", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--quick", action="store_true", help="few steps, to see that it works")
    options = parser.parse_args()
    if options.quick:
        options.repeats, options.starts, options.quality_steps = 1, 1, 20
        options.steps, options.threads = 20, [2]
    if options.role is None:
        compare_times(options)
        compare_quality(options)
    else:
        roles = {"plenoptic": run_plenoptic, "plenoptax": run_plenoptax, "start": make_start}
        print(json.dumps(roles[options.role](options)))


if __name__ == "__main__":
    main()
