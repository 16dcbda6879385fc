"""Time the ways to take the steps of one synthesis, and of 16 at once.

    python -m benchmarks.drivers

The ways are: a Python loop over the compiled step (host); a compiled loop (chunk), for a batch over
all elements at once; and a compiled loop of one element, or of a pair, after another. All give the
same losses, which is checked first. Milliseconds a step and image, medians and ranges of
alternating runs. The choice that `plenoptax.run` makes rests on this table.
"""

import functools
import statistics
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

import plenoptax as plx
from plenoptax._compiled import VERSION, xla_options


SIZE = 16
REPETITIONS = 5
KEY = jax.random.key(0)


class Network(eqx.Module):
    """Three convolutions, as the first layers of a network have them."""

    layers: list

    def __init__(self, key):
        keys = jax.random.split(key, 3)
        channels = (3, 16, 32, 32)
        self.layers = [
            eqx.nn.Conv2d(channels[i], channels[i + 1], 3, padding=1, key=keys[i]) for i in range(3)
        ]

    def __call__(self, image):
        for layer in self.layers:
            image = jax.nn.relu(layer(image))
        return image


def cases():
    """Models with their images and the steps that are timed."""
    onoff = plx.models.OnOff(31, pretrained=True)
    return {
        "Gaussian 64": (plx.models.Gaussian(7), 1, 64, 200),
        "Gaussian 256": (plx.models.Gaussian(7), 1, 256, 50),
        "OnOff 256": (onoff, 1, 256, 30),
        "texture 256": (plx.models.PortillaSimoncelli((256, 256)), 1, 256, 20),
        "network 64": (Network(KEY), 3, 64, 15),
    }


def loop(step, state, num_steps):
    """A compiled loop of steps, and the losses."""

    def body(carry):
        state, losses, count = carry
        state, info = step(state)
        return state, losses.at[count].set(info.loss), count + 1

    def unfinished(carry):
        return (carry[2] < num_steps) & jnp.any(carry[0].status == plx.Status.running)

    shape = jax.eval_shape(step, state)[1].loss.shape
    losses = jnp.zeros((num_steps, *shape))
    return jax.lax.while_loop(unfinished, body, (state, losses, jnp.zeros((), jnp.int32)))[:2]


def in_groups(batch, solver, state, num_steps, size):
    """A compiled loop of steps for one group of elements after another."""

    def one(group):
        mapped, state = group
        problem = plx.Batched(batch._with_mapped(mapped), batch.is_mapped, size)
        return loop(lambda s: plx.step(problem, solver, s), state, num_steps)

    def split(leaf):
        return leaf.reshape(batch.size // size, size, *leaf.shape[1:])

    state, losses = jax.lax.map(one, jax.tree.map(split, (batch._mapped(), state)))
    state = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), state)
    return state, jnp.moveaxis(losses, 1, 0).reshape(num_steps, -1)


def in_turn(batch, solver, state, num_steps):
    """A compiled loop of steps for one element after another, as `plenoptax.run` has it."""
    state, losses = batch.map_in_turn(
        lambda p, s: loop(lambda s: plx.step(p, solver, s), s, num_steps), state
    )
    return state, losses.T


def compile_ways(problem, solver, state, num_steps, size, number):
    """Functions without arguments that return the losses after `num_steps` steps, by name."""
    dynamic, static = eqx.partition((problem, solver), eqx.is_array)
    is_long = isinstance(problem if number is None else problem[0], plx.Metamer) and size > 2**15
    options = dict(xla_options("cpu", VERSION, size, is_long=is_long))
    jit = functools.partial(jax.jit, compiler_options=options or None)
    combine = functools.partial(eqx.combine, static)

    step = jit(lambda dynamic, state: plx.step(*combine(dynamic), state), donate_argnums=1)
    chunk = jit(lambda dynamic, s: loop(lambda s: plx.step(*combine(dynamic), s), s, num_steps))

    def host():
        losses, now = [], jax.tree.map(jnp.copy, state)
        for _ in range(num_steps):
            now, info = step(dynamic, now)
            losses.append(info.loss)
        return jnp.stack(losses)

    ways = {"host": host, "chunk": lambda: chunk(dynamic, state)[1]}
    if number is not None:
        one_by_one = jit(lambda dynamic, s: in_turn(*combine(dynamic), s, num_steps))
        ways["one by one"] = lambda: one_by_one(dynamic, state)[1]
        pairs = jit(lambda dynamic, s: in_groups(*combine(dynamic), s, num_steps, 2))
        ways["pairs"] = lambda: pairs(dynamic, state)[1]
    return ways


def measure(name, model, channels, size, num_steps, number):
    """Milliseconds a step and image of each way."""
    shape = (channels, size, size)
    if number is None:
        problem = plx.Metamer(jax.random.uniform(KEY, shape), model)
    else:
        images = jax.random.uniform(KEY, (number, *shape))
        problem = plx.batch(lambda image: plx.Metamer(image, model), images)
    optimizer = plx.lbfgs(30) if name.startswith("texture") else optax.adam(0.01)
    solver = plx.Solver(optimizer, stop=plx.stop.Never())
    state = plx.init(problem, solver, key=jax.random.key(1))
    ways = compile_ways(problem, solver, state, num_steps, channels * size**2, number)
    found = {way: run() for way, run in ways.items()}
    for way, losses in found.items():
        apart = jnp.max(jnp.abs(losses - found["host"])) / jnp.max(found["host"])
        if apart > 1e-2:
            raise SystemExit(f"{name}: the losses of {way} are {apart:.1e} from those of host")
    times = {way: [] for way in ways}
    for _ in range(REPETITIONS):
        for way, run in ways.items():
            started = time.perf_counter()
            jax.block_until_ready(run())
            elapsed = time.perf_counter() - started
            times[way].append(1e3 * elapsed / num_steps / (number or 1))
    return times


def main():
    """Print the table."""
    ways = ("host", "chunk", "one by one", "pairs")
    print("| model | images | " + " | ".join(ways) + " |")
    print("|---|---|" + "---|" * len(ways))
    for name, (model, channels, size, num_steps) in cases().items():
        for number in (None, SIZE):
            steps = num_steps if number is None else max(num_steps // 4, 5)
            times = measure(name, model, channels, size, steps, number)
            cells = [
                f"{statistics.median(times[way]):.3g} ({min(times[way]):.3g}-{max(times[way]):.3g})"
                if way in times
                else ""
                for way in ways
            ]
            print(f"| {name} | {number or 1} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()
