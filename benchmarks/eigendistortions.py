"""Time eigendistortions of a front end, plenoptic's and plenoptax's, and an exact texture spectrum.

First the products of both libraries are compared, then timed in turns, alone and in a block of 8.
Then both search for three at either end of LuminanceGainControl: plenoptic by its power method with
its own stop, plenoptax to a relative residual of 1e-4 at the top and to its criterion at the
bottom. plenoptax runs twice, with compilation and without. Nothing is extrapolated: where plenoptic
reaches its limit of iterations first, its time is less than it needs. Last, the whole spectrum of
Portilla-Simoncelli.

    python -m benchmarks.eigendistortions            # plenoptic's search may take half an hour
    python -m benchmarks.eigendistortions --quick
"""

import argparse
import io
import json
import pathlib
import statistics
import time
from contextlib import redirect_stderr, redirect_stdout

import jax
import jax.numpy as jnp
import numpy as np
import plenoptic as po
import torch
from plenoptic._synthesize import eigendistortion

import plenoptax as plx
from benchmarks.shared import agree, keep_programs, take_syntheses, use_threads


def alternate(functions, repeats):
    """Median and range of each, in milliseconds, in turns, after one call that compiles."""
    times = [[] for _ in functions]
    for i in range(repeats + 1):
        for function, taken in zip(functions, times, strict=True):
            start = time.perf_counter()
            function()
            if i:
                taken.append(1e3 * (time.perf_counter() - start))
    return [(statistics.median(taken), min(taken), max(taken)) for taken in times]


def show(times):
    return f"{times[0]:.1f} ({times[1]:.1f}-{times[2]:.1f})"


def compare_products(image, model, theirs, tensor, repeats):
    n = image.size
    noise = np.random.default_rng(0).normal(size=(8, n)).astype(np.float32)
    operator = plx.linalg.linearize(model, image)
    one, block = jnp.asarray(noise[:1]), jnp.asarray(noise)
    flat = tensor.flatten()[:, None].requires_grad_(True)
    response = theirs(flat.view(tensor.shape)).flatten()[:, None]
    dummy = torch.ones_like(response, requires_grad=True)
    column = torch.from_numpy(noise[:1].T)
    product = eigendistortion._fisher_info_matrix_vector_product
    wanted = product(response, flat, column, dummy).detach().numpy()[:, 0]
    found = np.asarray(operator.fisher(one))[0]
    difference = agree("product", found, wanted, 1e-3)
    ours, eight, other = alternate(
        (
            lambda: jax.block_until_ready(operator.fisher(one)),
            lambda: jax.block_until_ready(operator.fisher(block)),
            lambda: product(response, flat, column, dummy),
        ),
        repeats,
    )
    print(f"products differ by {difference:.1e}\n")
    print("| one product, ms | |\n|---|---|")
    print(f"| plenoptic | {show(other)} |\n| plenoptax | {show(ours)} |")
    print(f"| plenoptax, a block of 8 | {show(eight)} |")
    print(f"\n{other[0] / ours[0]:.0f} times faster; 8 cost {eight[0] / ours[0]:.1f} times one\n")


def search_plenoptic(theirs, tensor, k, max_iter):
    found = po.Eigendistortion(tensor, theirs)
    printed = io.StringIO()
    start = time.perf_counter()
    with redirect_stdout(printed), redirect_stderr(io.StringIO()):
        found.synthesize(method="power", k=k, max_iter=max_iter)
    seconds = time.perf_counter() - start
    return seconds, found.eigenvalues.numpy(), printed.getvalue().count("reached")


def search_plenoptax(image, model):
    start = time.perf_counter()
    found = plx.eigendistortions(
        image, model, k=3, method="block_lanczos", max_products=1000, progress=False
    )
    return time.perf_counter() - start, found


def compare_searches(image, model, theirs, tensor, max_iter):
    print("| | seconds | products | ends that stopped | eigenvalues |\n|---|---|---|---|---|")
    runs = []
    for label in ("with compilation", "again"):
        seconds, found = search_plenoptax(image, model)
        runs.append(seconds)
        ends = [plx.linalg.EigenStatus[status] for status in found.status.values()]
        row = " ".join(f"{value:.3g}" for value in found.eigenvalues)
        stopped = sum("limit" not in sentence for sentence in ends)
        count = found.num_products
        print(f"| plenoptax, {label} | {runs[-1]:.1f} | {count} | {stopped} | {row} |", flush=True)
    seconds, values, stopped = search_plenoptic(theirs, tensor, 3, max_iter)
    row = " ".join(f"{value:.3g}" for value in values)
    print(f"| plenoptic, {max_iter} at most | {seconds:.0f} | | {stopped} | {row} |", flush=True)
    least = "" if stopped == 2 else "at least "
    print(f"\n{least}{seconds / runs[0]:.0f} and {seconds / runs[1]:.0f} times faster")


def pose(name, size):
    """An image, a model, and both in plenoptic."""
    image = plx.data.chelsea(as_gray=True)[:, -size:, -size:]
    model = getattr(plx.models, name)(31, pretrained=True)
    theirs = getattr(po.models, name)((31, 31), pretrained=True)
    po.remove_grad(theirs)
    return image, model, theirs.eval(), torch.from_numpy(np.array(image))[None]


def run_role(options):
    """Search for three at either end in this process, by one library."""
    if options.role == "start":
        return {}
    image, model, theirs, tensor = pose("LuminanceGainControl", options.size)
    if options.role == "plenoptic":
        use_threads(options.threads)
        seconds, values, stopped = search_plenoptic(theirs, tensor, 3, options.max_iter)
        return {"seconds": seconds, "eigenvalues": values.tolist(), "ends that stopped": stopped}
    keep_programs(options.cache)
    seconds, found = search_plenoptax(image, model)
    ends = [plx.linalg.EigenStatus[status] for status in found.status.values()]
    stopped = sum("limit" not in sentence for sentence in ends)
    values = np.asarray(found.eigenvalues).tolist()
    return {"seconds": seconds, "eigenvalues": values, "ends that stopped": stopped}


def take_turns(turns, is_quick):
    size = 32 if is_quick else 64

    def check(theirs, ours, agree, case, folder):
        # At the bottom, plenoptic's values are not eigenvalues: they are in the table.
        agree("three largest eigenvalues", ours["eigenvalues"][:3], theirs["eigenvalues"][:3], 0.01)

    def numbers(run):
        return {
            "s": run["seconds"],
            "largest eigenvalue": run["eigenvalues"][0],
            "smallest eigenvalue": min(run["eigenvalues"]),
            "ends that stopped": run["ends that stopped"],
        }

    cases = {f"{size} x {size} pixels": {"size": size}}
    take_syntheses(turns, "eigendistortions", cases, check, numbers)


def time_texture(size, n_scales):
    model = plx.models.PortillaSimoncelli((size, size), n_scales=n_scales)
    start = time.perf_counter()
    image = plx.data.brick()[:, :size, :size]
    found = plx.eigendistortions(image, model, method="exact", progress=False)
    seconds = time.perf_counter() - start
    print(f"\nPortilla-Simoncelli({size} x {size}, n_scales={n_scales}): all {size**2} in", end=" ")
    print(f"{seconds:.1f} s, {found.null_dimension} of them invisible")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="64 x 64 pixels, 30 iterations")
    parser.add_argument("--max-iter", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--role", choices=["start", "plenoptic", "plenoptax"])
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--folder", type=pathlib.Path)
    parser.add_argument("--cache", type=pathlib.Path)
    options = parser.parse_args()
    if options.role is not None:
        print(json.dumps(run_role(options)))
        return
    size = 64 if options.quick else 256
    for name in ("LuminanceGainControl", "LuminanceContrastGainControl"):
        print(f"\n{name}, {size} x {size} pixels, float32, {torch.get_num_threads()} threads\n")
        image, model, theirs, tensor = pose(name, size)
        compare_products(image, model, theirs, tensor, options.repeats)
        if name == "LuminanceGainControl":
            max_iter = 30 if options.quick else options.max_iter
            compare_searches(image, model, theirs, tensor, max_iter)
    time_texture(32 if options.quick else 64, 2 if options.quick else 3)


if __name__ == "__main__":
    main()
