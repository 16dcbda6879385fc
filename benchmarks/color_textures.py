"""Metamers of color textures: which statistics keep the joint distribution of the colors.

Three textures consist of shapes of two colors on gray, with the color tied to the orientation of
the shape. For each texture and seed it makes a metamer with three models: `PortillaSimoncelli`,
which measures each channel alone; `ColorPortillaSimoncelli` without the color quantiles, the model
of Vacher and Briand; and with them. They are compared with the target, and so are eight other
samples of the texture, the target with its pixels shuffled, and the metamers of the first model,
both of which must miss a bar:

- covariance: the largest error of the 3 x 3 covariance of the colors, at most 1e-3;
- chroma: the Wasserstein distance of the two opponent channels without lightness, the mean over 64
  directions in their plane; at most that of a sample, as are the next two;
- color: that of all three channels, over 64 directions. No direction is one of the model's;
- channels: the largest relative error of a group of statistics between channels;
- hue with form: the correlation of the local hue with the local orientation, within the range of
  the samples;
- groups: the largest ratio of the error of a group of single channels to the error of that group in
  the gray model's own metamer, at most 1.5. A larger ratio means that it has not converged.

    python -m benchmarks.color_textures --size 256 --seeds 3 --steps 600 --save images.npz

With ``--photographs`` the targets are 64 x 64 crops of two photographs of scikit-image, a brown and
blue stain and the fur of a cat, and the other samples are the disjoint crops of the same region.
"""

import argparse
import time
import warnings

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
    """The mean distance of the sorted opponent colors of two images of one size."""
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
        self.target, self.axis, shape = target, axis, target.shape[-2:]
        self.color = plx.models.ColorPortillaSimoncelli(shape, n_scales, color_quantiles=False)
        self.directions = all_directions()

    def __call__(self, image):
        difference = np.cov(image.reshape(3, -1)) - np.cov(self.target.reshape(3, -1))
        chroma, color = (wasserstein(image, self.target, d) for d in self.directions)
        self.errors = errors_of_groups(self.color, image, self.target)
        found = {
            "covariance": np.abs(difference).max(),
            "chroma": chroma,
            "color": color,
            "channels": max(self.errors[name] for name in BETWEEN),
        }
        if self.axis is not None:
            found["hue with form"] = hue_with_form(image, self.axis)
        return found


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


def missed(found, samples):
    """The names of the bars that an image misses."""
    bars = {name: (0, max(sample[name] for sample in samples)) for name in samples[0]}
    bars |= {"covariance": (0, 1e-3), "groups": (0, 1.5)}
    if "hue with form" in found:
        values = [sample["hue with form"] for sample in samples]
        bars["hue with form"] = (min(values), max(values))
    return [name for name, value in found.items() if not bars[name][0] <= value <= bars[name][1]]


def show(label, found, samples=None, extra=""):
    names = ("covariance", "chroma", "color", "channels", "hue with form", "groups")
    cells = [f"{found[name]:.2g}" if name in found else "" for name in names]
    misses = "" if samples is None else ", ".join(missed(found, samples)) or "none"
    print(f"| {label} | " + " | ".join(cells) + f" | {misses} | {extra} |", flush=True)


def compare(name, target, others, axis, options, n_scales, images):
    """Print the rows of one target."""
    judge = Judge(target, n_scales, axis)
    print(f"\n{name}, {target.shape[-1]} pixels, up to {options.steps} steps\n")
    heads = ["", "covariance", "chroma", "color", "channels", "hue with form", "groups"]
    heads += ["missed", "loss, steps, CPU seconds"]
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    samples = [judge(other) for other in others]
    for label, pick in (("least of the samples", min), ("most of the samples", max)):
        show(label, {key: pick(sample[key] for sample in samples) for key in samples[0]})
    if axis is not None:
        print(f"| target | | | | | {hue_with_form(target, axis):.2g} | | | |")
    show("pixels shuffled", judge(shuffle(target)), samples)
    for seed in range(options.seeds):
        usual = None
        for label, model in make_models(target.shape[-2:], n_scales).items():
            began = time.process_time()
            result = plx.metamer(
                jnp.asarray(target),
                model,
                key=jax.random.key(seed),
                max_steps=options.steps,
                progress=False,
            )
            seconds = time.process_time() - began
            image = images[f"{name}/{label}/{seed}"] = np.asarray(result.image)
            found = judge(image)
            if usual is None:
                usual = errors_of_groups(model, image, target)
            else:
                own = [group for group in usual if group not in BETWEEN]
                found["groups"] = max(judge.errors[group] / usual[group] for group in own)
            losses = result.trace.losses
            extra = f"{losses[-1]:.2g}, {len(losses) - 1}, {seconds:.0f}"
            show(f"{label}, seed {seed}", found, samples, extra)


def photographs():
    """Crops of 64 x 64 pixels, the target first, of a stain and of fur."""
    import skimage.data

    regions = {
        "stain": (skimage.data.immunohistochemistry(), range(16, 208, 64), range(32, 224, 64)),
        "fur": (skimage.data.chelsea(), range(16, 80, 64), range(60, 316, 64)),
    }
    for name, (photograph, rows, columns) in regions.items():
        image = np.moveaxis(photograph, -1, 0).astype(np.float32) / 255
        yield name, [image[:, y : y + 64, x : x + 64] for y in rows for x in columns]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--textures", nargs="+", default=list(TEXTURES))
    parser.add_argument("--photographs", action="store_true")
    parser.add_argument("--save", help="a file for the images")
    options = parser.parse_args()
    images = {}
    # The gray model warns that it measures each channel alone, which is why it is here.
    warnings.filterwarnings("ignore", message="PortillaSimoncelli measures each")
    if options.photographs:
        cases = ((name, crops, None) for name, crops in photographs())
    else:
        cases = (
            (name, [draw(name, options.size, seed) for seed in range(9)], hue_axis(name))
            for name in options.textures
        )
    for name, (target, *others), axis in cases:
        images[f"{name}/target"], images[f"{name}/sample"] = target, others[0]
        n_scales = min(4, len(target[0]).bit_length() - 4)
        compare(name, target, others, axis, options, n_scales, images)
    if options.save:
        np.savez_compressed(options.save, **images)


if __name__ == "__main__":
    main()
