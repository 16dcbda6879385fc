"""Measure how time and memory grow with the size of the image, the batch and the devices.

    python -m benchmarks.growth [--parts size batch devices] [--quick]

``size``: value and gradient of texture statistics of three scales, 64 to 1024 pixels. ``batch``:
metamers of a front end at 128 x 128 pixels, elements a second, and the peak of the resident set,
for 1 to 64 images at once and with ``batch_size=8``. ``devices``: 16 images on one host device, and
on two. Each number comes from a process of its own; medians and ranges of the repetitions, in
turns.
"""

import argparse
import functools
import json
import pathlib
import statistics
import tempfile
import time

import numpy as np

from benchmarks.load import peak_memory
from benchmarks.shared import LIBRARIES, run_child, THREADS, use_threads


def time_calls(evaluate, side):
    """Milliseconds of a call, and those of a megapixel, after a call that is not counted."""
    evaluate()
    count = max(3, int(3e6 / side**2))
    start = time.perf_counter()
    for _ in range(count):
        evaluate()
    seconds = (time.perf_counter() - start) / count
    return {"ms": 1e3 * seconds, "ms a megapixel": 1e3 * seconds / (side**2 / 1e6)}


def brick(side):
    """A brick wall of any size."""
    import plenoptax as plx

    tiles = -(-side // 256)
    return np.tile(np.asarray(plx.data.brick()), (1, tiles, tiles))[:, :side, :side]


def make_start(options):
    """Write what both libraries start from, so that plenoptic need not load JAX."""
    import plenoptax as plx

    if options.what == "size":
        np.save(options.folder / "image.npy", brick(options.number))
    else:
        photographs = [plx.data.get(name, as_gray=True) for name in plx.data.PHOTOGRAPHS]
        images = [np.roll(photographs[i % 6], i, -1)[:, :128, :128] for i in range(options.number)]
        starts = np.random.default_rng(0).uniform(size=(options.number, 1, 128, 128))
        np.save(options.folder / "images.npy", np.stack(images))
        np.save(options.folder / "starts.npy", starts.astype(np.float32))
    return {}


def describe(value, gradient):
    """What both libraries must agree on: a value, and a gradient averaged in 8 by 8 blocks."""
    gradient = np.asarray(gradient).squeeze()
    blocks = gradient.reshape(8, len(gradient) // 8, 8, -1).mean((1, 3))
    return {"value": float(value), "gradient": blocks.ravel().tolist()}


def run_size_plenoptax(options):
    import jax
    import jax.numpy as jnp

    import plenoptax as plx

    image = jnp.asarray(np.load(options.folder / "image.npy"))
    # The smallest image has room for three scales.
    model = plx.models.PortillaSimoncelli(image.shape[-2:], 3)

    def energy(image, model):
        return jnp.sum(model(image) ** 2)

    gradient = jax.jit(jax.value_and_grad(energy))
    found = describe(*gradient(image, model))
    return found | time_calls(
        lambda: jax.block_until_ready(gradient(image, model)), image.shape[-1]
    )


def run_size_plenoptic(options):
    use_threads(options.threads)
    import plenoptic as po
    import torch

    image = torch.from_numpy(np.load(options.folder / "image.npy"))[None]
    model = po.models.PortillaSimoncelli(image.shape[-2:], n_scales=3)

    def gradient():
        variable = image.clone().requires_grad_()
        value = (model(variable) ** 2).sum()
        value.backward()
        return value.detach(), variable.grad

    return describe(*gradient()) | time_calls(gradient, image.shape[-1])


def time_batch(synthesize, number):
    """Images a second of a second run, and means over images of its first and last losses."""
    synthesize()
    start = time.perf_counter()
    losses = synthesize()
    seconds = time.perf_counter() - start
    return {"images a second": number / seconds, "losses": losses}


def run_batch_plenoptax(options):
    import jax
    import jax.numpy as jnp

    import plenoptax as plx

    images, starts = (np.load(options.folder / f"{name}.npy") for name in ("images", "starts"))
    if len(jax.devices()) > 1:
        mesh = jax.make_mesh((len(jax.devices()),), ("batch",))
        spec = jax.sharding.PartitionSpec("batch")
        images = jax.device_put(images, jax.sharding.NamedSharding(mesh, spec))
    model = plx.models.OnOff(31, pretrained=True)

    def synthesize():
        result = plx.metamer(
            jnp.asarray(images),
            model,
            initial_image=jnp.asarray(starts),
            solver=plx.Solver(plx.amsgrad(0.01), stop=plx.stop.Never()),
            max_steps=options.steps,
            batch=True,
            batch_size=options.batch_size,
            progress=False,
        )
        jax.block_until_ready(result.image)
        losses = [element.losses for element in result.trace.elements]
        return [float(np.mean([one[i] for one in losses])) for i in (0, -1)]

    return time_batch(synthesize, len(images))


def run_batch_plenoptic(options):
    use_threads(options.threads)
    import plenoptic as po
    import torch

    images, starts = (
        torch.from_numpy(np.load(options.folder / f"{name}.npy")) for name in ("images", "starts")
    )
    model = po.models.OnOff(31, pretrained=True, cache_filt=True)
    po.remove_grad(model)
    model.eval()

    def add_losses(found, wanted):
        # Its penalty is the sum over the batch, and a mean of losses would weigh each image's less
        # than its penalty.
        return len(images) * po.loss.mse(found, wanted)

    def synthesize():
        metamer = po.Metamer(images, model, loss_function=add_losses)
        metamer.setup(starts)
        metamer.synthesize(options.steps, stop_criterion=0)
        metamer.metamer.detach().numpy()
        return [float(metamer.losses[i]) / len(images) for i in (0, -1)]

    return time_batch(synthesize, len(images))


def child(what, library, number, folder, **options):
    """Run a part in a process of its own, and read its numbers."""
    options |= {"what": what, "number": number, "folder": folder}
    return run_child("growth", f"{what}_{library}", **options)


def compare_growth(turns, what, numbers, label, quantities, agree, **options):
    """Measure both libraries with several numbers of pixels or images."""
    with tempfile.TemporaryDirectory() as temporary:
        last, cases = {}, {}

        def run(library, number, folder, pair):
            threads = {"threads": turns.threads[-1]} if library == "plenoptic" else {}
            found = child(what, library, number, folder, **options, **threads)
            last[library] = found
            if len(last) == 2:
                agree(number, last.pop("plenoptax"), last.pop("plenoptic"))
            return {library: {quantity: found[quantity] for quantity in quantities}}

        for number in numbers:
            folder = pathlib.Path(temporary) / str(number)
            folder.mkdir()
            run_child("growth", "start", what=what, number=number, folder=folder)
            cases[label.format(number)] = [
                functools.partial(run, library, number, folder) for library in LIBRARIES
            ]
        turns.take(cases)


def take_sizes(turns, is_quick):
    def agree(side, ours, theirs):
        turns.agree(f"value at {side} pixels", ours["value"], theirs["value"], 1e-3)
        turns.agree(f"gradient at {side} pixels", ours["gradient"], theirs["gradient"], 1e-2)

    sides = (64, 128) if is_quick else (64, 128, 256, 512, 1024)
    quantities = ("ms", "ms a megapixel", "MiB")
    compare_growth(turns, "size", sides, "{0} x {0}", quantities, agree)


def take_batches(turns, is_quick):
    def agree(number, ours, theirs):
        for i, (what, tolerance) in enumerate((("first", 1e-3), ("last", 0.01))):
            what = f"{what} loss of a batch of {number}"
            turns.agree(what, ours["losses"][i], theirs["losses"][i], tolerance)

    counts = (1, 2) if is_quick else (1, 4, 16)
    steps = 3 if is_quick else 30
    quantities = ("images a second", "MiB")
    compare_growth(turns, "batch", counts, "batch of {0}", quantities, agree, steps=steps)


def take_devices(turns, is_quick):
    count, steps = (2, 3) if is_quick else (16, 30)
    with tempfile.TemporaryDirectory() as folder:
        run_child("growth", "start", what="batch", number=count, folder=folder)
        losses = {}

        def run(devices, pair):
            options = {"devices": devices, "steps": steps}
            found = child("batch", "plenoptax", count, folder, **options)
            losses[devices] = found["losses"]
            if len(losses) == 2:
                turns.agree("losses by 2 devices and by 1", losses[2], losses[1], 1e-6)
            name = f"plenoptax, {devices} device" + "s" * (devices > 1)
            return {name: {quantity: found[quantity] for quantity in ("images a second", "MiB")}}

        turns.take({f"{count} images": [functools.partial(run, number) for number in (1, 2)]})


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


def run_alone(what, number, **options):
    """The numbers of plenoptax for a table of its own."""
    with tempfile.TemporaryDirectory() as folder:
        run_child("growth", "start", what=what, number=number, folder=folder)
        found = child(what, "plenoptax", number, folder, **options)
    hidden = ("value", "gradient", "losses", "seconds")
    return {name: value for name, value in found.items() if name not in hidden}


ROLES = {
    "start": make_start,
    "size_plenoptax": run_size_plenoptax,
    "size_plenoptic": run_size_plenoptic,
    "batch_plenoptax": run_batch_plenoptax,
    "batch_plenoptic": run_batch_plenoptic,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--role", choices=list(ROLES))
    parser.add_argument("--what", choices=["size", "batch"])
    parser.add_argument("--number", type=int)
    parser.add_argument("--folder", type=pathlib.Path)
    parser.add_argument("--threads", type=int, default=THREADS[-1])
    parser.add_argument("--batch-size", type=int)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--parts", nargs="+", default=["size", "batch", "devices"])
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if options.role is not None:
        print(json.dumps(ROLES[options.role](options) | {"MiB": peak_memory()}))
        return
    repeats, steps = (1, 10) if options.quick else (3, 100)
    sides = (64, 128) if options.quick else (64, 128, 256, 512, 1024)
    counts = (1, 8) if options.quick else (1, 4, 16, 64)
    if "size" in options.parts:
        run = functools.partial(run_alone, "size")
        tabulate("side in pixels", {f"{n}": functools.partial(run, n) for n in sides}, repeats)
    run = functools.partial(run_alone, "batch", steps=steps)
    if "batch" in options.parts:
        cases = {f"{n}": functools.partial(run, n) for n in counts}
        cases[f"{counts[-1]} in slices of 8"] = functools.partial(run, counts[-1], batch_size=8)
        tabulate("images", cases, repeats)
    if "devices" in options.parts:
        cases = {f"{n} host devices": functools.partial(run, 16, devices=n) for n in (1, 2)}
        tabulate("16 images on", cases, repeats)


if __name__ == "__main__":
    main()
