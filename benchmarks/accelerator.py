"""Time syntheses on the default device: one image, and batches of 1 to 256 images.

    python -m benchmarks.accelerator [--quick]

A texture and a front end at 256 x 256 pixels, a layer of VGG16 with random weights at 128 x 128,
all by Adam with no early stop; and eigendistortions of the front end at 64 x 64. Milliseconds a
step and image after compilation, medians and ranges, seconds of the first call, and the largest
memory in use where the device counts it. Where plenoptic and torch are installed, single textures
and front ends run in turns with plenoptic's, on the GPU of torch, or on the CPU where JAX uses it.
The losses of the first steps are compared before the times. Prints Markdown tables with the device
and the versions.
"""

import argparse
import statistics
import time
from importlib import metadata

import jax
import jax.numpy as jnp
import numpy as np

import plenoptax as plx


SIZES = (1, 4, 16, 64, 256)


def make_model(name):
    """A model and the side of its images."""
    if name == "texture":
        return plx.models.PortillaSimoncelli((256, 256)), 256
    if name == "front end":
        return plx.models.OnOff(31, pretrained=True), 256
    network = plx.models.networks.VGG16(key=jax.random.key(0), classifier=False)
    return plx.models.features.FeatureExtractor(network, "relu3_3"), 128


def make_images(name, side, count):
    """Shifted photographs, and uniform noise to start from."""
    color = name == "network"
    photographs = [plx.data.get(one, as_gray=not color) for one in plx.data.PHOTOGRAPHS]
    shifted = [jnp.roll(photographs[i % 6], 16 * (i // 6), -1) for i in range(count)]
    images = jnp.stack(shifted)[..., :side, :side]
    return images, jax.random.uniform(jax.random.key(1), images.shape)


def synthesize(model, images, starts, steps):
    """Take so many steps for all images at once, and return the losses of each."""
    is_batch = len(images) > 1
    loss = plx.loss.l2_norm if isinstance(model, plx.models.PortillaSimoncelli) else plx.loss.mse
    result = plx.metamer(
        images if is_batch else images[0],
        model,
        loss,
        initial_image=starts if is_batch else starts[0],
        solver=plx.Solver(plx.amsgrad(0.01), stop=plx.stop.Never()),
        max_steps=steps,
        progress=False,
        batch=is_batch,
    )
    jax.block_until_ready(result.image)
    return np.asarray([element.losses for element in result.trace.elements])


def timed(function):
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def summarize(seconds):
    """Median and range in milliseconds."""
    values = [1e3 * one for one in seconds]
    return f"{statistics.median(values):.3g} ({min(values):.3g}-{max(values):.3g})"


def peak_memory():
    """The largest number of MiB that was in use, of devices that count it."""
    counted = jax.devices()[0].memory_stats() or {}
    return f"{counted['peak_bytes_in_use'] / 2**20:.0f}" if counted else "not counted"


def measure(name, counts, steps, repeats):
    """Print a row for each number of images."""
    model, side = make_model(name)
    for count in counts:
        images, starts = make_images(name, side, count)

        def run(images=images, starts=starts):
            return synthesize(model, images, starts, steps)

        first = timed(run)
        seconds = [timed(run) / steps / count for _ in range(repeats)]
        cells = [name, str(count), summarize(seconds), f"{first:.1f}", peak_memory()]
        print("| " + " | ".join(cells) + " |", flush=True)


def measure_eigendistortions(repeats):
    """Print a row for the largest and the smallest eigenvalue."""
    model, image = plx.models.OnOff(31, pretrained=True), plx.data.camera()[:, 96:160, 96:160]

    def run():
        found = plx.eigendistortions(image, model, method="block_lanczos", progress=False)
        jax.block_until_ready(found.eigendistortions)

    first = timed(run)
    seconds = [timed(run) for _ in range(repeats)]
    cells = ["eigendistortions", "1", summarize(seconds), f"{first:.1f}", peak_memory()]
    print("| " + " | ".join(cells) + " |", flush=True)


def compare(name, steps, repeats):
    """Print a row for one image of plenoptax and of plenoptic, in turns."""
    import plenoptic
    import torch

    model, side = make_model(name)
    images, starts = make_images(name, side, 1)
    is_cuda = jax.default_backend() == "gpu" and torch.cuda.is_available()
    device = torch.device("cuda" if is_cuda else "cpu")
    if name == "texture":
        theirs, loss = plenoptic.models.PortillaSimoncelli((side, side)), plenoptic.loss.l2_norm
    else:
        theirs, loss = (
            plenoptic.models.OnOff(31, pretrained=True, cache_filt=True),
            plenoptic.loss.mse,
        )
    theirs = theirs.to(device).eval()
    plenoptic.remove_grad(theirs)
    image, start = (torch.tensor(np.asarray(x), device=device) for x in (images, starts))

    def run_theirs():
        metamer = plenoptic.Metamer(image, theirs, loss_function=loss)
        metamer.setup(start)
        metamer.synthesize(steps, stop_criterion=0)
        metamer.metamer.detach().cpu()
        return np.asarray(metamer.losses)

    def run_ours():
        return synthesize(model, images, starts, steps)[0]

    found, wanted = run_ours()[:5], run_theirs()[:5]
    difference = float(np.abs(found / wanted - 1).max())
    if difference > 1e-2:
        raise SystemExit(f"{name}: the first losses differ by {difference:.1e}: {found}, {wanted}")
    times = {run_ours: [], run_theirs: []}
    for _ in range(repeats):
        for run, seconds in times.items():
            seconds.append(timed(run) / steps)
    ours, others = (statistics.median(seconds) for seconds in times.values())
    cells = [name, *(summarize(seconds) for seconds in times.values()), f"{others / ours:.2f}"]
    print("| " + " | ".join([*cells, device.type]) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few images, steps and repeats")
    options = parser.parse_args()
    counts, steps, repeats = ((1, 2), 3, 2) if options.quick else (SIZES, 50, 5)
    device = jax.devices()[0]
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in ("jax", "plenoptax"))
    print(f"{device.device_kind} ({device.platform}), {versions}\n")
    print("| synthesis | images | ms a step and image | first call, s | peak, MiB |")
    print("|---|---|---|---|---|")
    for name in ("texture", "front end", "network"):
        measure(name, counts, steps, repeats)
    measure_eigendistortions(repeats)
    try:
        import plenoptic  # noqa: F401
    except ImportError:
        return
    print("\n| one image | plenoptax, ms a step | plenoptic | factor | torch device |")
    print("|---|---|---|---|---|")
    for name in ("texture", "front end"):
        compare(name, steps, repeats)


if __name__ == "__main__":
    main()
