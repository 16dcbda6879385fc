"""Time what the loop adds to the steps of a small convolutional model, and of one without.

A step is timed bare (the compiled gradient and Adam's update, called from Python), and inside
`plenoptax.run` with either driver. On CPU the compiled loop is expected to be many times slower for
the convolutional model (JAX issue 12868); ``auto`` must take the host's.

    python -m benchmarks.loop
"""

import statistics
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

import plenoptax as plx


class Network(eqx.Module):
    first: eqx.nn.Conv2d
    second: eqx.nn.Conv2d

    def __init__(self, key):
        keys = jax.random.split(key)
        self.first = eqx.nn.Conv2d(3, 16, 3, padding=1, key=keys[0])
        self.second = eqx.nn.Conv2d(16, 32, 3, padding=1, key=keys[1])

    def __call__(self, image):
        return self.second(jax.nn.relu(self.first(image)))


def bare(problem, optimizer, z, num_steps):
    """Milliseconds a step of the shortest loop that there is."""

    dynamic, static = eqx.partition(problem, eqx.is_array)

    @jax.jit
    def step(dynamic, z, state):
        problem = eqx.combine(dynamic, static)
        value, gradient = jax.value_and_grad(lambda z: problem.objective(z, None)[0])(z)
        updates, state = optimizer.update(gradient, state, z)
        return z + updates, state, value

    start, state = z, optimizer.init(z)
    # Three steps: what comes out of a step may be typed otherwise than what went in.
    for _ in range(3):
        z, state, _ = step(dynamic, z, state)
    z, state = start, optimizer.init(start)
    started = time.perf_counter()
    for _ in range(num_steps):
        z, state, _ = step(dynamic, z, state)
    jax.block_until_ready(z)
    return 1e3 * (time.perf_counter() - started) / num_steps, z


def driven(problem, optimizer, z, num_steps, driver):
    """Milliseconds a step of `run`, after a first run has compiled."""
    solver = plx.Solver(optimizer, stop=plx.stop.Never())
    state = plx.init(problem, solver, initial_image=z)
    plx.run(problem, solver, state, 1, driver=driver)
    started = time.perf_counter()
    final, trace = plx.run(problem, solver, state, num_steps, driver=driver)
    elapsed = time.perf_counter() - started
    return 1e3 * elapsed / num_steps, final.accepted_z, trace.provenance["driver"]


def main():
    key = jax.random.key(0)
    image = jax.random.uniform(key, (3, 64, 64))
    models = {"two convolutions": Network(key), "Gaussian": plx.models.Gaussian(31)}
    print("ms a step, median (range) of 5 alternating runs of 100 steps")
    print("| model | bare | host | chunk | auto takes |\n|---|---|---|---|---|")
    for name, model in models.items():
        target = image if name != "Gaussian" else image[:1]
        problem = plx.Metamer(target, model)
        z = jnp.full(target.shape, 0.5)
        optimizer = optax.adam(0.01)
        found = {"bare": [], "host": [], "chunk": []}
        for _ in range(5):
            milliseconds, wanted = bare(problem, optimizer, z, 100)
            found["bare"].append(milliseconds)
            for driver in ("host", "chunk"):
                milliseconds, result, _ = driven(problem, optimizer, z, 100, driver)
                found[driver].append(milliseconds)
                difference = float(jnp.max(jnp.abs(result - wanted)))
                if difference > 1e-3:
                    raise SystemExit(f"{driver} differs from the bare loop by {difference:.1e}")
        choice = driven(problem, optimizer, z, 1, "auto")[2]
        cells = [
            f"{statistics.median(values):.2f} ({min(values):.2f}-{max(values):.2f})"
            for values in found.values()
        ]
        print(f"| {name} | " + " | ".join(cells) + f" | {choice} |")


if __name__ == "__main__":
    main()
