"""Metamers of color textures: which statistics keep the joint distribution of the colors.

Three textures consist of shapes of two colors on gray, with the color tied to the orientation of
the shape. For each texture and seed it makes a metamer with three models: `PortillaSimoncelli`,
which measures each channel alone; `ColorPortillaSimoncelli` without the color quantiles, the model
of Vacher and Briand; and with them. They are compared with the target as eight other samples of the
texture are, and so is the target with its pixels shuffled:

- covariance: the largest error of the 3 x 3 covariance of the colors;
- chroma: the Wasserstein distance of the two opponent channels without lightness, the mean over 64
  directions in their plane;
- color: that of all three channels, over 64 directions. No direction is one of the model's;
- hue with form: the correlation of the local hue with the local orientation, minus the target's;
- channels: the largest relative error of a group of statistics between channels;
- groups: the largest ratio of a group's error to its error in the metamer of the gray model, over
  the groups that both models have.

    python benchmarks/color_textures.py --size 256 --seeds 3 --steps 600 --save images.npz

With ``--photographs`` the targets are 64 x 64 crops of two photographs of scikit-image, a brown and
blue stain and the fur of a cat, and the other samples are all disjoint crops of the same region.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

import plenoptax as plx


OPPONENT = np.array([[1, 1, 1], [1, -1, 0], [1, 1, -2]]) / np.sqrt([[3], [2], [6]])
RED, GREEN = (0.75, 0.2, 0.15), (0.35, 0.65, 0.2)
ORANGE, BLUE = (0.85, 0.45, 0.15), (0.2, 0.35, 0.8)
YELLOW, PURPLE = (0.85, 0.8, 0.25), (0.5, 0.25, 0.6)
# The colors and the half axes (rows, columns) of the two shapes, and whether they are ellipses.
TEXTURES = {
    "red and green": ((RED, (9.0, 5.0), True), (GREEN, (4.0, 8.0), True)),
    "orange and blue": ((ORANGE, (4.0, 4.0), True), (BLUE, (1.7, 8.0), False)),
    "yellow and purple": ((YELLOW, (10.0, 2.0), False), (PURPLE, (2.0, 10.0), False)),
}
BETWEEN = (
    "cross_orientation_correlation_magnitude",
    "cross_scale_correlation_magnitude",
    "cross_scale_correlation_real",
    "cross_orientation_correlation_real",
    "cross_correlation_lowpass",
    "cross_correlation_coarsest_scale_lowpass",
)


def draw(name, size, seed):
    """One sample of a texture, without edges at the border, in float32."""
    generator = np.random.default_rng(seed)
    image = np.full((3, size, size), 0.45)
    rows, columns = np.indices((size, size))
    for number in range(size**2 // 90):
        color, (height, width), is_ellipse = TEXTURES[name][number % 2]
        center = generator.uniform(0, size, 2)
        y = ((rows - center[0] + size / 2) % size - size / 2) / height
        x = ((columns - center[1] + size / 2) % size - size / 2) / width
        distance = np.hypot(y, x) if is_ellipse else np.maximum(abs(y), abs(x))
        inside = np.clip((1 - distance) * min(height, width) + 0.5, 0, 1)
        image = image * (1 - inside) + np.array(color)[:, None, None] * inside
    # Shading and a little noise, as photographs have.
    radius = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None])
    noise = np.fft.fft2(generator.normal(size=(size, size))) / np.maximum(radius, 2 / size)
    shade = np.fft.ifft2(noise).real
    image = image * (1 + 0.1 * shade / shade.std()) + 0.01 * generator.normal(size=image.shape)
    return np.clip(image, 0, 1).astype(np.float32)


def wasserstein(first, second, directions):
    """The mean over directions of the distance of the sorted opponent colors; the images have one size."""
    first, second = (
        np.sort(directions @ OPPONENT @ image.reshape(3, -1), axis=1) for image in (first, second)
    )
    return np.abs(first - second).mean()


def all_directions():
    """64 directions in the plane of chroma, and 64 directions of all colors."""
    angles = np.pi * (np.arange(64) + 0.5) / 64
    chroma = np.stack([0 * angles, np.cos(angles), np.sin(angles)], axis=1)
    color = np.random.default_rng(0).normal(size=(64, 3))
    return chroma, color / np.linalg.norm(color, axis=1, keepdims=True)


def hue_with_form(image, axis):
    """The correlation of the local hue with the local orientation."""

    def blur(values):
        squared = sum(np.square(np.meshgrid(*map(np.fft.fftfreq, values.shape), indexing="ij")))
        gain = np.exp(-0.5 * (2 * np.pi * 2.5) ** 2 * squared)
        return np.fft.ifft2(np.fft.fft2(values) * gain).real.ravel()

    def change(channel, direction):
        return abs(np.roll(channel, 1, direction) - np.roll(channel, -1, direction))

    form = sum(change(channel, 0) - change(channel, 1) for channel in image)
    return np.corrcoef(blur(np.tensordot(axis, image, 1)), blur(form))[0, 1]


def hue_axis(name):
    """The direction from one color to the other, without lightness."""
    first, second = (np.array(shape[0]) for shape in TEXTURES[name])
    return first - second - np.mean(first - second)


def errors_of_groups(model, image, target):
    """The relative error of each group of statistics, without the extremes of the pixels."""
    wanted, found = (model.convert_to_dict(model(jnp.asarray(a))) for a in (target, image))
    errors = {}
    for group in wanted:
        a, b = (np.asarray(values[group], float) for values in (wanted, found))
        if group == "pixel_statistics":
            a, b = a[..., :4], b[..., :4]
        kept = ~np.isnan(a)
        errors[group] = np.linalg.norm((a - b)[kept]) / np.linalg.norm(a[kept])
    return errors


class Judge:
    """The comparison of images with one target."""

    def __init__(self, target, n_scales, axis):
        self.target, self.axis = target, axis
        shape = target.shape[-2:]
        self.color = plx.models.ColorPortillaSimoncelli(shape, n_scales, color_quantiles=False)
        self.gray = plx.models.PortillaSimoncelli(shape, n_scales)
        self.chroma, self.directions = all_directions()

    def __call__(self, image):
        difference = np.cov(image.reshape(3, -1)) - np.cov(self.target.reshape(3, -1))
        errors = errors_of_groups(self.color, image, self.target)
        found = {
            "covariance": np.abs(difference).max(),
            "chroma": wasserstein(image, self.target, self.chroma),
            "color": wasserstein(image, self.target, self.directions),
            "channels": max(errors[name] for name in BETWEEN),
        }
        if self.axis is not None:
            found["hue with form"] = hue_with_form(image, self.axis)
        return found | {"errors": errors}

    def gray_errors(self, image):
        return errors_of_groups(self.gray, image, self.target)


def make_models(shape, n_scales):
    return {
        "each channel alone": plx.models.PortillaSimoncelli(shape, n_scales),
        "Vacher and Briand": plx.models.ColorPortillaSimoncelli(
            shape, n_scales, color_quantiles=False
        ),
        "with color quantiles": plx.models.ColorPortillaSimoncelli(shape, n_scales),
    }


def shuffle(image):
    order = np.random.default_rng(0).permutation(image[0].size)
    return image.reshape(3, -1)[:, order].reshape(image.shape)


def show(label, found, extra=""):
    cells = [f"{found[name]:.2g}" for name in ("covariance", "chroma", "color", "channels")]
    cells += [f"{found['hue with form']:.2f}"] if "hue with form" in found else []
    print(f"| {label} | " + " | ".join(cells) + f" | {extra} |", flush=True)


def compare(name, target, others, axis, options, n_scales, images):
    """Print the rows of one target."""
    judge = Judge(target, n_scales, axis)
    print(f"\n{name}, {target.shape[-1]} pixels\n")
    heads = ["", "covariance", "chroma", "color", "channels"]
    heads += ["hue with form"] * (axis is not None) + ["groups; loss; steps; seconds"]
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    show("target", judge(target))
    samples = [judge(other) for other in others]
    for label, pick in (("least of the samples", min), ("most of the samples", max)):
        show(label, {key: pick(s[key] for s in samples) for key in samples[0] if key != "errors"})
    show("pixels shuffled", judge(shuffle(target)))
    base = {}
    for label, model in make_models(target.shape[-2:], n_scales).items():
        if label not in options.models:
            continue
        for seed in range(options.seeds):
            began = time.perf_counter()
            result = plx.metamer(
                jnp.asarray(target),
                model,
                key=jax.random.key(seed),
                max_steps=options.steps,
                progress=False,
            )
            image = np.asarray(result.image)
            images[f"{name}/{label}/{seed}"] = image
            gray = judge.gray_errors(image)
            base.setdefault(seed, gray)
            ratio = {group: gray[group] / max(base[seed][group], 1e-12) for group in gray}
            worst = max(ratio, key=ratio.get)
            losses = result.trace.losses
            show(
                f"{label}, seed {seed}",
                judge(image),
                f"{ratio[worst]:.2g} ({worst}); {losses[-1]:.2g}; {len(losses) - 1}; "
                f"{time.perf_counter() - began:.0f}",
            )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--textures", nargs="+", default=list(TEXTURES))
    parser.add_argument("--models", nargs="+", default=list(make_models((64, 64), 1)))
    parser.add_argument("--photographs", action="store_true")
    parser.add_argument("--save", help="a file for the images")
    options = parser.parse_args()
    images = {}
    if options.photographs:
        for name, (target, others) in photographs().items():
            images[f"{name}/target"] = target
            compare(name, target, others, None, options, 3, images)
    else:
        n_scales = min(4, options.size.bit_length() - 4)
        for name in options.textures:
            target, *others = (draw(name, options.size, seed) for seed in range(9))
            images[f"{name}/target"] = target
            images[f"{name}/sample"] = others[0]
            compare(name, target, others, hue_axis(name), options, n_scales, images)
    if options.save:
        np.savez_compressed(options.save, **images)


if __name__ == "__main__":
    main()
