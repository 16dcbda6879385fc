"""How near to a geodesic several optimizers come in the same number of evaluations, and how fast.

The path leads in ten steps from one crop of a photograph to another, a few pixels aside, for a
model of local contrast. Run as ``python -m benchmarks.geodesic``, with ``--quick`` for one start.
"""

import argparse
import time

import jax
import jax.numpy as jnp

import plenoptax as plx


OPTIMIZERS = {
    "Adam 0.001 (default)": plx.amsgrad(1e-3),
    "Adam 0.01": plx.amsgrad(1e-2),
    "L-BFGS": plx.lbfgs(),
    "L-BFGS, preconditioned": plx.precondition_path(plx.lbfgs()),
}
EVALUATIONS = (30, 100, 300, 600)


def contrast(image):
    high = image - plx.models.Gaussian(7)(image)
    return high / jnp.sqrt(0.01 + plx.models.Gaussian(9)(high**2))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    photograph = plx.process.shrink(plx.data.chelsea(as_gray=True), 4)
    first, last = photograph[:, 16:48, 10:42], photograph[:, 16:48, 16:48]
    problem = plx.Geodesic(first, last, contrast)
    bridge = plx.process.sample_brownian_bridge(first, last, 10, key=jax.random.key(0))
    starts = (
        {"bridge": bridge} if options.quick else {"straight": problem.pixelfade, "bridge": bridge}
    )
    least = float(jnp.sum((problem.target[1] - problem.target[0]) ** 2) / 10**2)
    print(
        "Energy above that of a straight line, of which no path can have less, in percent of it.\n"
    )
    columns = [f"{count} evaluations" for count in EVALUATIONS]
    print("| start | optimizer | " + " | ".join(columns) + " | jerkiness | ms/evaluation |")
    print("| --- | --- |" + " ---: |" * (len(columns) + 2))
    for label, start in starts.items():
        for name, optimizer in OPTIMIZERS.items():
            solver = plx.Solver(optimizer, stop=plx.stop.Never())
            state = plx.init(problem, solver, initial_image=start)
            plx.run(problem, solver, state, 5)
            began = time.perf_counter()
            state, trace = plx.run(problem, solver, state, EVALUATIONS[-1])
            milliseconds = 1e3 * (time.perf_counter() - began) / len(trace)
            cells = [f"{100 * (trace.losses[: n + 1].min() / least - 1):.4f}" for n in EVALUATIONS]
            path = problem.decode(state.accepted_z)
            jerkiness = float(problem.calculate_jerkiness(path).max())
            row = [label, name, *cells, f"{jerkiness:.1e}", f"{milliseconds:.2f}"]
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
