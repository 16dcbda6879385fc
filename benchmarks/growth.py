"""Measure how time and memory grow with the size of the image, the batch and the devices.

    python benchmarks/growth.py [--parts size batch devices] [--quick]

``size``: value and gradient of texture statistics of three scales, 64 to 1024 pixels. ``batch``:
metamers of a front end at 128 x 128 pixels, elements a second, and the peak of the resident set,
for 1 to 64 images at once and with ``batch_size=8``. ``devices``: 16 images on one host device, and
on two. Each number comes from a process of its own; medians and ranges of the repetitions, in
turns.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time


def run_size(options):
    import jax
    import jax.numpy as jnp
    import numpy as np

    import plenoptax as plx

    side = options.number
    tiles = -(-side // 256)
    image = jnp.tile(plx.data.brick(), (1, tiles, tiles))[:, :side, :side]
    # The smallest image has room for three scales.
    model = plx.models.PortillaSimoncelli((side, side), 3)

    def energy(image, model):
        return jnp.sum(model(image) ** 2)

    def evaluate():
        jax.block_until_ready(gradient(image, model))

    gradient = jax.jit(jax.value_and_grad(energy))
    evaluate()
    count = max(3, int(3e6 / side**2))
    start = time.perf_counter()
    for _ in range(count):
        evaluate()
    seconds = (time.perf_counter() - start) / count
    assert np.isfinite(gradient(image, model)[1]).all()
    return {"ms": 1e3 * seconds, "ms a megapixel": 1e3 * seconds / (side**2 / 1e6)}


def run_batch(options):
    import jax
    import jax.numpy as jnp

    import plenoptax as plx

    photographs = [plx.data.get(name, as_gray=True) for name in plx.data.PHOTOGRAPHS]
    images = jnp.stack(
        [jnp.roll(photographs[i % 6], i, -1)[:, :128, :128] for i in range(options.number)]
    )
    if len(jax.devices()) > 1:
        mesh = jax.make_mesh((len(jax.devices()),), ("batch",))
        spec = jax.sharding.PartitionSpec("batch")
        images = jax.device_put(images, jax.sharding.NamedSharding(mesh, spec))
    model = plx.models.OnOff(31, pretrained=True)

    def synthesize():
        result = plx.metamer(
            images,
            model,
            key=jax.random.key(0),
            solver=plx.Solver(plx.amsgrad(0.01), stop=plx.stop.Never()),
            max_steps=options.steps,
            batch=True,
            batch_size=options.batch_size,
            progress=False,
        )
        return jax.block_until_ready(result.image)

    synthesize()
    start = time.perf_counter()
    synthesize()
    seconds = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"images a second": options.number / seconds, "peak MiB": peak}


def child(role, number, *, devices=1, **named):
    """Run a part in a process of its own, and read its numbers."""
    command = [sys.executable, __file__, "--role", role, "--number", str(number)]
    for name, value in named.items():
        command += [f"--{name}", str(value)]
    flags = f"--xla_force_host_platform_device_count={devices}" if devices > 1 else ""
    env = {**os.environ, "XLA_FLAGS": f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()}
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=env).stdout
    return json.loads(output.splitlines()[-1])


def tabulate(title, cases, repeats):
    """Run all cases in turns, and print the numbers of each."""
    found = {name: [] for name in cases}
    for _ in range(repeats):
        for name, run in cases.items():
            found[name].append(run())
    columns = list(found[next(iter(cases))][0])
    print(f"\n| {title} | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|")
    for name, runs in found.items():
        cells = []
        for column in columns:
            values = [run[column] for run in runs]
            cells.append(f"{statistics.median(values):.3g} ({min(values):.3g}-{max(values):.3g})")
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--role", choices=["size", "batch"])
    parser.add_argument("--number", type=int)
    parser.add_argument("--batch_size", type=int)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--parts", nargs="+", default=["size", "batch", "devices"])
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if options.role is not None:
        print(json.dumps({"size": run_size, "batch": run_batch}[options.role](options)))
        return
    repeats, steps = (1, 10) if options.quick else (3, 100)
    sides = (64, 128) if options.quick else (64, 128, 256, 512, 1024)
    counts = (1, 8) if options.quick else (1, 4, 16, 64)
    if "size" in options.parts:
        cases = {f"{side}": lambda side=side: child("size", side) for side in sides}
        tabulate("side in pixels", cases, repeats)
    if "batch" in options.parts:
        cases = {f"{n}": lambda n=n: child("batch", n, steps=steps) for n in counts}
        most = counts[-1]
        cases[f"{most} in slices of 8"] = lambda: child("batch", most, steps=steps, batch_size=8)
        tabulate("images", cases, repeats)
    if "devices" in options.parts:
        cases = {
            f"{n} host devices": lambda n=n: child("batch", 16, steps=steps, devices=n)
            for n in (1, 2)
        }
        tabulate("16 images on", cases, repeats)


if __name__ == "__main__":
    main()
