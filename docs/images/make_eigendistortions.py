"""Make the picture of eigendistortions: what four models see most and least of a photograph.

python docs/images/make_eigendistortions.py
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from canvas import column_of_ends, page_of_ends

import plenoptax as plx


MODELS = {
    "LN": plx.models.LinearNonlinear,
    "LG": plx.models.LuminanceGainControl,
    "LGG": plx.models.LuminanceContrastGainControl,
    "OnOff": plx.models.OnOff,
}
MARGIN = 16
SIZE = 80
# The root mean square of the bottom ones as they are shown.
CONTRAST = 0.05


def compute():
    """The photograph, and for each model its eigendistortions, their factors and numbers."""
    jax.config.update("jax_enable_x64", True)
    photograph = plx.process.shrink(plx.data.chelsea(as_gray=True), 2)[:, :112, 16:]
    inner = photograph[:, MARGIN:-MARGIN, MARGIN:-MARGIN]
    # Away from the borders, where the image is mirrored; neither brightness nor contrast as such.
    changes = plx.linalg.complement(jnp.ones_like(inner), inner)
    padding = ((0, 0), (MARGIN, MARGIN), (MARGIN, MARGIN))
    subspace = plx.linalg.Linear(lambda z: jnp.pad(changes(z), padding), changes.size)
    found = {}
    for name, make in MODELS.items():
        model = make(31, pretrained=True)
        whole = plx.eigendistortions(photograph, model, which="bottom", progress=False)
        both = plx.eigendistortions(
            photograph, model, subspace=subspace, max_products=800, progress=False
        )
        d_prime = CONTRAST * SIZE * both.eigenvalues[-1] ** 0.5
        scales = plx.equal_detectability(both, model, d_prime)
        print(name, "measured d' over predicted:", (scales.measured / d_prime).round(3).tolist())
        found[name] = {
            "distortions": np.asarray(both.eigendistortions)[:, 0, MARGIN:-MARGIN, MARGIN:-MARGIN],
            "alpha": scales.alpha,
            "eigenvalues": both.eigenvalues,
            "null_dimensions": (whole.null_dimension, both.null_dimension),
            "is_bound": bool(both.status["bottom"] == plx.linalg.EigenStatus.product_limit),
            "d_prime": d_prime,
        }
    return np.asarray(inner[0]), found


def draw(computed):
    """One column for each model, in its middle the two images that it finds equally changed."""
    photograph, found = computed
    side = 2 * SIZE
    page, tops = page_of_ends(photograph, len(found), "model", head=66, foot=24)
    for i, (name, one) in enumerate(found.items()):
        x = column_of_ends(i, side)
        top, bottom = one["distortions"]
        first, last = one["alpha"]
        page.image(x, tops[0], 0.5 + 0.5 * top / np.abs(top).max(), 2)
        page.image(x, tops[1], photograph + first * top, 2)
        page.image(x, tops[2], photograph + last * bottom, 2)
        page.image(x, tops[3], 0.5 + 0.5 * bottom / np.abs(bottom).max(), 2)
        write_numbers(page, x + side / 2, tops[3] + side, name, one)
    page.save(pathlib.Path(__file__).with_name("eigendistortions.png"))


def write_numbers(page, x, y, name, one):
    """The numbers of a model, above and below its column."""
    whole, rest = one["null_dimensions"]
    values, contrasts = one["eigenvalues"], one["alpha"] / SIZE
    relation = r"\leq" if one["is_bound"] else "="
    page.text(x, 1, name, size=10, weight="bold")
    page.text(x, 19, f"null dimension {whole}; here {rest}")
    page.text(x, 34, f"both: $d' =$ {one['d_prime']:.2g}")
    page.text(x, 49, f"$\\lambda =$ {values[0]:.2g}, contrast {contrasts[0]:.2g}")
    page.text(x, y + 5, f"$\\lambda {relation}$ {values[1]:.2g}, contrast {contrasts[1]:.2g}")


if __name__ == "__main__":
    draw(compute())
