"""Runs of each method that are killed, and continued by another process.

    python -m tests.synthesis.killed METHOD FILE begin
    python -m tests.synthesis.killed METHOD FILE continue

The first runs until it is killed. The second continues it for three steps, and prints whether the
result is that of a run that was never interrupted.
"""

import pathlib
import sys

import jax
import numpy as np

import plenoptax as plx

from .bands import SelectableBands
from .competitions import l1


BRICK, GRASS = (image[:, :16, :16] for image in (plx.data.brick(), plx.data.grass()))
MODEL = plx.models.LinearNonlinear(5)
NEVER = plx.Solver(plx.lbfgs(3), stop=plx.stop.Never())
METHODS = {
    "metamer": lambda **named: plx.metamer(BRICK, MODEL, **named),
    "metamer_ctf": lambda **named: plx.metamer_ctf(
        BRICK, SelectableBands(), ctf_iters_to_check=3, **named
    ),
    "mad_competition": lambda **named: plx.mad_competition(
        BRICK, plx.metric.mse, l1, "min", **named
    ),
    "geodesic": lambda **named: plx.geodesic(BRICK, GRASS, MODEL, n_steps=4, **named),
    "batch": lambda **named: plx.metamer(BRICK, MODEL, num_seeds=2, **named),
}


def main(method, path, action):
    """Begin, or continue and compare."""
    named = {"key": jax.random.key(0), "solver": NEVER, "progress": False}
    synthesize = METHODS[method]
    if action == "begin":
        synthesize(checkpoint=plx.Checkpoint(path, seconds=0), max_steps=10**7, **named)
    num_steps = plx.io.load_trace(path).num_steps
    continued = synthesize(checkpoint=path, max_steps=num_steps + 3, **named)
    whole = synthesize(max_steps=num_steps + 3, **named)
    np.testing.assert_array_equal(continued.image, whole.image)
    for one, other in zip(continued.trace.elements, whole.trace.elements, strict=True):
        np.testing.assert_array_equal(one.losses, other.losses)
        assert one.num_steps == num_steps + 3
    print("the same after", num_steps, "and 3 steps")


if __name__ == "__main__":
    main(sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3])
