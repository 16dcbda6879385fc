"""Measure the texture statistics of natural photographs, for plenoptax.data.natural_statistics.

    python tests/reference/make_natural_statistics.py [--size 128] [--per-photograph 8] [FILE ...]

Without files it takes the open photographs of scikit-image. Each is cut into windows side by side.
Mean and standard deviation are over all windows; some of the windows of each photograph, spread
evenly, are kept whole, so that pairs of unrelated images can be compared.
"""

import argparse
import pathlib

import equinox as eqx
import numpy as np
import skimage

import plenoptax as plx


PHOTOGRAPHS = (
    *("astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png"),
    *("grass.png", "gravel.png", "moon.png", "motorcycle_left.png", "rocket.jpg"),
)
PLACE = pathlib.Path(plx.__file__).parent / "data" / "natural_statistics.npz"


def windows(image, size):
    height, width = image.shape[-2:]
    for top in range(0, height - size + 1, size):
        for left in range(0, width - size + 1, size):
            yield image[:, top : top + size, left : left + size]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=pathlib.Path)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--per-photograph", type=int, default=8)
    parser.add_argument("--out", type=pathlib.Path, default=PLACE)
    arguments = parser.parse_args()
    folder = pathlib.Path(skimage.__file__).parent / "data"
    files = arguments.files or [folder / name for name in PHOTOGRAPHS]

    model = eqx.filter_jit(plx.models.PortillaSimoncelli((arguments.size, arguments.size)))
    everything, kept, sources = [], [], []
    for number, file in enumerate(files):
        measured = [model(w)[0] for w in windows(plx.load_images(file), arguments.size)]
        measured = np.asarray(measured, np.float64)
        everything.append(measured)
        chosen = np.unique(np.linspace(0, len(measured) - 1, arguments.per_photograph).round())
        kept.append(measured[chosen.astype(int)])
        sources += [number] * len(chosen)
        print(f"{file.name}: {len(measured)} windows")
    everything, kept = np.concatenate(everything), np.concatenate(kept)
    mean, deviation = everything.mean(0), everything.std(0, ddof=1)
    np.savez_compressed(
        arguments.out,
        mean=mean.astype(np.float32),
        standard_deviation=deviation.astype(np.float32),
        z_scores=((kept - mean) / deviation).astype(np.float16),
        sources=np.asarray(sources, np.uint8),
        num_windows=len(everything),
        window_size=arguments.size,
    )
    print(f"{len(everything)} windows; {arguments.out.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
