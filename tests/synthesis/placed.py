"""Batches on several devices, in a process that has them.

    python -m tests.synthesis.placed

prints the methods whose result is that of one device, and stays on eight. The environment has to
ask XLA for eight devices.
"""

import pathlib
import re
import signal
import tempfile

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import plenoptax as plx
from plenoptax.linalg import EigenStatus
from plenoptax.solve._run import _take_chunk
from plenoptax.synthesis._eigendistortions_methods import METHODS as METHODS_OF_SEARCH

from .bands import SelectableBands
from .competitions import l1


IMAGES, OTHERS = (
    jnp.stack([image[:, i : i + 16, i : i + 16] for i in range(16)]).astype(float)
    for image in (plx.data.brick(), plx.data.grass())
)
MODEL = plx.models.LinearNonlinear(5)
KEY = jax.random.key(0)
SOLVER = plx.Solver(plx.lbfgs(3), stop=plx.stop.Never())
METHODS = {
    "metamer": lambda images, _, **named: plx.metamer(images, MODEL, batch=True, **named),
    "start": lambda images, others, key, **named: plx.metamer(
        images, MODEL, batch=True, initial_image=others, **named
    ),
    "metamer_ctf": lambda images, _, **named: plx.metamer_ctf(
        images, SelectableBands(), ctf_iters_to_check=2, batch=True, **named
    ),
    "mad_competition": lambda images, _, **named: plx.mad_competition(
        images, plx.metric.mse, l1, "min", batch=True, **named
    ),
    "geodesic": lambda images, others, key, **named: plx.geodesic(
        images, others, MODEL, n_steps=4, batch=True, **named
    ),
    # Two equal metrics share one program.
    "mad_competition_set": lambda images, _, **named: (
        plx.mad_competition_set(
            images, l1, l1, metric_tradeoff_lambda=1.0, batch=True, **named
        ).metric2_max
    ),
    "conditional_geodesic": lambda images, others, key, **named: plx.conditional_geodesic(
        METHODS["geodesic"](images, others, key, **named), batch=True, **named
    ),
    "seeds": lambda image, _, **named: plx.metamer(image, MODEL, num_seeds=16, **named),
    "synthesize": lambda _, others, key, **named: plx.synthesize(
        lambda image: jnp.sum((image - 0.5) ** 4),
        (1, 16, 16),
        image_dtype=float,
        num_seeds=16,
        initial_image=others,
        **named,
    ),
}


def place(array, name, devices=None):
    """Distribute an array over devices along its first axis, or give each a copy."""
    mesh = jax.sharding.Mesh(np.asarray(devices or jax.devices()), ("batch",))
    return jax.device_put(array, jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(name)))


def compare(method):
    """Compare a synthesis on eight devices with that on one."""
    named = {"key": KEY, "solver": SOLVER, "max_steps": 6, "progress": False}
    whole = IMAGES[0] if method == "seeds" else IMAGES
    alone = METHODS[method](whole, OTHERS, **named)
    placed_images = place(whole, None if method == "seeds" else "batch")
    placed = METHODS[method](placed_images, place(OTHERS, "batch"), **named)
    np.testing.assert_allclose(placed.image, alone.image, atol=1e-10)
    check_shares([placed.image, placed.state])
    started = plx.init(placed.problem, placed.solver, key=KEY)
    check_shares(started)
    if method == "metamer":
        check_program(placed.problem, started)
        check_files(placed)


def check_shares(tree):
    """Each device holds its own two elements of each array, and nothing else."""
    for leaf in jax.tree.leaves(tree):
        assert leaf.shape[0] == 16
        found = {shard.device.id: shard.index[0] for shard in leaf.addressable_shards}
        assert found == {i: slice(2 * i, 2 * i + 2) for i in range(8)}


def check_program(problem, state):
    """The compiled steps communicate nothing, and the parameters of the model are copied."""
    for in_turn in (True, False):
        fixed = (problem, SOLVER, jnp.asarray(3, jnp.int32))
        program = eqx.filter_jit(_take_chunk).lower(fixed, state, in_turn).compile()
        text = program.compiled.as_text()
        assert "while" in text
        assert not re.search(r"all-reduce|all-gather|all-to-all|collective|\bsend\b|\brecv\b", text)
    for leaf in jax.tree.leaves(problem.problem.model):
        assert leaf.sharding.is_fully_replicated
        assert len(leaf.sharding.device_set) == 8


def check_files(result):
    """A file gives back the state where it was, and a run goes on from it as without the file."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "batch.npz"
        plx.io.save(path, result)
        again = plx.io.load_result(path, result.problem, result.solver)
        like = plx.init(result.problem, result.solver, key=KEY)
        loaded = plx.io.load(path, like=like, problem=result.problem)
    check_shares([again.state, loaded])
    more, _ = plx.run(again.problem, again.solver, again.state, 4)
    direct, _ = plx.run(result.problem, result.solver, result.state, 4)
    np.testing.assert_array_equal(more.z, direct.z)
    check_shares(more)
    assert "elements   16" in str(result.report())


def search(images, method, **named):
    """Search the eigendistortions of a model with parameters."""
    named = {"batch": True, "progress": False, "key": KEY, **named}
    noise = plx.linalg.GaussianNoise(jnp.full(32, 4.0))
    return plx.eigendistortions(images, Bent(WEIGHTS), noise=noise, method=method, **named)


class Bent(eqx.Module):
    """A nonlinear model that sees half of the changes of an image."""

    weights: jax.Array

    def __call__(self, image):
        return jnp.tanh(self.weights @ jnp.ravel(image))


WEIGHTS = jnp.asarray(np.random.default_rng(0).normal(size=(32, 64)) / 8)
SMALL = IMAGES[:4, :, :8, :8]


def compare_eigendistortions():
    """Eigendistortions on two devices are those on one, and each is where its image is."""
    devices = jax.devices()[5:3:-1]
    placed_images = place(SMALL, "batch", devices)
    for method in ("block_lanczos", "auto"):
        alone, placed = (search(images, method) for images in (SMALL, placed_images))
        for i, (one, other) in enumerate(zip(alone, placed, strict=True)):
            np.testing.assert_allclose(other.eigenvalues, one.eigenvalues, rtol=1e-10)
            np.testing.assert_allclose(
                np.asarray(other.eigendistortions), np.asarray(one.eigendistortions), atol=1e-8
            )
            arrays = [other.eigendistortions, other.image, other.state]
            held = [x for x in jax.tree.leaves(arrays) if isinstance(x, jax.Array)]
            assert len(held) >= 2
            assert {d for x in held for d in x.devices()} == {devices[i // 2]}
    # A search goes on where it was.
    half = search(placed_images, "block_lanczos", max_products=6)[3]
    more = search(half.image, "block_lanczos", batch=False, resume=half)
    assert half.num_products == 6
    whole = search(SMALL[3], "block_lanczos", batch=False)
    np.testing.assert_allclose(more.eigenvalues, whole.eigenvalues, atol=1e-10)
    assert more.eigendistortions.devices() == {devices[1]}
    interrupt(SMALL)
    interrupt(placed_images)
    interrupt_dense()


def interrupt(images):
    """Ctrl-C ends all searches after their current step; those not yet begun take one."""
    steps, step = [], plx.linalg.BlockLanczos.step

    def ask_and_step(solver, state):
        signal.raise_signal(signal.SIGINT)
        steps.append(step(solver, state))
        return steps[-1]

    plx.linalg.BlockLanczos.step = ask_and_step
    try:
        found = search(images, "block_lanczos")
    except KeyboardInterrupt:
        # That is the second Ctrl-C; after the first, a step was finished.
        assert steps
    else:
        raise AssertionError("A second Ctrl-C must raise an error.")
    asked = []

    def ask_once_and_step(solver, state):
        if not asked:
            asked.append(signal.raise_signal(signal.SIGINT))
        return step(solver, state)

    plx.linalg.BlockLanczos.step = ask_once_and_step
    found = search(images, "block_lanczos")
    assert all(one.num_products < 32 for one in found)
    assert all(one.status["top"] == EigenStatus.product_limit for one in found)
    plx.linalg.BlockLanczos.step = step


def interrupt_dense():
    """After Ctrl-C during a decomposition, no other begins."""
    calls, dense = [], METHODS_OF_SEARCH["dense"]

    def ask_and_find(*arguments):
        calls.append(signal.raise_signal(signal.SIGINT))
        return dense.find(*arguments)

    METHODS_OF_SEARCH["dense"] = dense._replace(find=ask_and_find)
    try:
        search(SMALL, "auto")
    except KeyboardInterrupt:
        assert len(calls) == 1
    else:
        raise AssertionError("Ctrl-C must end the decompositions.")


if __name__ == "__main__":
    for method in METHODS:
        compare(method)
        print(method)
    compare_eigendistortions()
    print("eigendistortions")
