"""Results, solvers and models that go through pickle from one process into another.

    python -m tests.synthesis.pickled FOLDER write
    python -m tests.synthesis.pickled FOLDER read

Either goes on with them and writes the arrays that come of it, and the solvers in words.
"""

import pathlib
import pickle
import sys

import equinox as eqx
import jax
import numpy as np

import plenoptax as plx
from plenoptax._words import in_words

from . import resumed
from .bands import SelectableBands
from .competitions import l1


IMAGE = slice(None), slice(None, 16), slice(None, 16)
NAMED = {"key": jax.random.key(0), "max_steps": 3, "progress": False}


def make():
    """A result of each method, with several solvers; solvers; and models."""
    brick, grass = plx.data.brick()[IMAGE], plx.data.grass()[IMAGE]
    model = plx.models.LinearNonlinear(5)
    adam = resumed.OPTIMIZERS["adam"]()
    things = {
        "eigendistortions": plx.eigendistortions(brick, plx.models.Gaussian(5), progress=False),
        "metamer": plx.metamer(brick, model, **NAMED),
        "adam": plx.metamer(brick, model, optimizer=adam, **NAMED),
        "coarse to fine": plx.metamer_ctf(brick, SelectableBands(), **NAMED),
        "batch": plx.metamer(brick[None], model, batch=True, optimizer=plx.lbfgs(3), **NAMED),
        "competition": plx.mad_competition(brick, plx.metric.mse, l1, "min", **NAMED),
        "geodesic": plx.geodesic(brick, grass, model, n_steps=3, **NAMED),
    }
    solvers = {f"solver {name}": plx.Solver(one()) for name, one in resumed.OPTIMIZERS.items()}
    models = {name: one() for name, one in resumed.MODELS.items()}
    own = {n: one for n, one in models.items() if type(one).__module__.startswith("plenoptax.")}
    return things | solvers | own


def go_on(result):
    """The points and the losses after two more steps."""
    state, trace = plx.run(result.problem, result.solver, result.state, 2)
    return [np.asarray(state.z), *(np.asarray(one.losses) for one in trace.elements)]


def arrays_of(things):
    """What comes of each thing."""
    image = plx.data.brick()[:, : resumed.SIZE, : resumed.SIZE]
    problem = plx.Metamer(image, plx.models.Gaussian(3))

    # In one program, since most of the time is compilation.
    @eqx.filter_jit
    def of_parts(parts):
        states = [solver.init(problem, 1 - image) for solver in parts["solvers"]]
        pairs = zip(parts["solvers"], states, strict=True)
        points = [solver.step(problem, state)[0].z for solver, state in pairs]
        return points, [model(image) for model in parts["models"]]

    results, solvers, models = {}, {}, {}
    for name, thing in things.items():
        if isinstance(thing, plx.Result):
            results[name] = go_on(thing)
        elif isinstance(thing, plx.Solver):
            solvers[name] = thing
        elif isinstance(thing, plx.Eigendistortions):
            results[name] = [thing.eigendistortions, thing.eigenvalues]
        else:
            models[name] = thing
    found = of_parts({"solvers": [*solvers.values()], "models": [*models.values()]})
    for names, arrays in zip((solvers, models), found, strict=True):
        results |= dict(zip(names, arrays, strict=True))
    words = {f"{name} words": np.asarray(in_words(one)) for name, one in solvers.items()}
    return words | {
        f"{name} {index}": np.asarray(array)
        for name, arrays in results.items()
        for index, array in enumerate(jax.tree.leaves(arrays))
    }


if __name__ == "__main__":
    folder, action = pathlib.Path(sys.argv[1]), sys.argv[2]
    pickles = folder / "things.pickle"
    things = make() if action == "write" else pickle.loads(pickles.read_bytes())
    if action == "write":
        pickles.write_bytes(pickle.dumps(things))
    np.savez(folder / f"{action}.npz", **arrays_of(things))
