"""Time metrics beside the published torch packages: value and gradient at 256 x 256 pixels.

Both compare the same two color images, in float32, with the same weights, in turns. Values are
compared first. Run it with the packages of tests/reference/make_learned_metrics.py installed:

    python -m benchmarks.learned_metrics [--quick]

Prints a Markdown table of medians, and in brackets the range of seven turns, in milliseconds of
wall time and of CPU time, which counts all threads. The factor is the time of torch with the better
number of threads over that of plenoptax.
"""

import argparse
import pathlib
import sys
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import piq
import torch

import plenoptax as plx


sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests" / "reference"))

import make_learned_metrics as published


ROUNDS, SIZE = 7, 256
METRICS = {
    "LPIPS, AlexNet": (
        lambda: plx.metric.LPIPS("alex"),
        lambda: published.make_lpips("alex", "0.1", real=True, single=True),
    ),
    "LPIPS, VGG16": (
        lambda: plx.metric.LPIPS("vgg"),
        lambda: published.make_lpips("vgg", "0.1", real=True, single=True),
    ),
    "DISTS": (plx.metric.DISTS, lambda: published.make_dists(real=True, single=True)),
    "FSIM": (lambda: plx.metric.fsim, lambda: piq.fsim),
    "GMSD": (lambda: plx.metric.gmsd, lambda: piq.gmsd),
    "HaarPSI": (lambda: plx.metric.haarpsi, lambda: piq.haarpsi),
}


def images():
    image = np.array(plx.data.astronaut()[:, :SIZE, :SIZE], np.float32)
    noise = np.random.default_rng(0).standard_normal(image.shape)
    return image, np.clip(image + 0.1 * noise, 0, 1).astype(np.float32)


def in_jax(metric, pair):
    arrays = [jnp.asarray(x) for x in pair]
    slope = eqx.filter_jit(lambda metric, x, y: jax.value_and_grad(lambda z: metric(z, y))(x))
    return lambda: jax.block_until_ready(slope(metric, *arrays))


def in_torch(metric, pair, number):
    first, second = (torch.tensor(x)[None] for x in pair)

    def run():
        if torch.get_num_threads() != number:
            torch.set_num_threads(number)
        leaf = first.clone().requires_grad_()
        value = metric(leaf, second).squeeze()
        value.backward()
        return value.detach(), leaf.grad

    return run


def measure(function):
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return np.array([time.perf_counter() - wall, time.process_time() - cpu]) * 1e3


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one turn, to see that it runs")
    rounds = 1 if parser.parse_args().quick else ROUNDS
    pair = images()
    print("| | | plenoptax | torch, 1 thread | torch, 2 threads | factor |")
    print("|---|---|---|---|---|---|")
    for name, (ours, theirs) in METRICS.items():
        metric = theirs()
        functions = [in_jax(ours(), pair), *(in_torch(metric, pair, n) for n in (1, 2))]
        values = [float(function()[0]) for function in functions]
        np.testing.assert_allclose(values, values[0], atol=2e-4)
        times = np.array([[measure(function) for function in functions] for _ in range(rounds)])
        low, half, high = np.min(times, 0), np.median(times, 0), np.max(times, 0)
        for kind, label in enumerate(("wall", "CPU")):
            cells = [
                f"{half[i, kind]:.1f} [{low[i, kind]:.1f}, {high[i, kind]:.1f}]" for i in range(3)
            ]
            factor = min(half[1:, kind]) / half[0, kind]
            print(f"| {name} | {label} | {' | '.join(cells)} | {factor:.2f} |", flush=True)


if __name__ == "__main__":
    main()
