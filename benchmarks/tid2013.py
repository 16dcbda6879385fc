"""Correlate metrics with what people said of distorted images: the study of TID2013.

TID2013 (Ponomarenko et al., Signal Processing: Image Communication 2015) has 25 photographs, each
with 24 distortions of 5 strengths, and the mean opinion score of each of the 3000 images. As in
plenoptic's tutorial, two distortions of color are left out, and the rest is compared in gray.

``python -m benchmarks.tid2013 [--quick] [FOLDER]``, where FOLDER has ``reference_images``,
``distorted_images`` and ``mos.txt``; without it, plenoptic's copy is downloaded, which takes about
1 GB. The data are for research only. Prints a Markdown table of correlations, with the sign that
makes 1 a perfect distance; plenoptic's tutorial found NLPD > MS-SSIM > SSIM > RMSE. Needs SciPy.
"""

import argparse
import pathlib
import sys

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

import plenoptax as plx


NUM_IMAGES, NUM_TYPES, NUM_LEVELS = 25, 24, 5
# "Additive noise more intensive in color" and "change of color saturation", from 0.
COLOR_TYPES = (1, 17)


def root_mean_square(img1, img2):
    return jnp.sqrt(plx.metric.mse(img1, img2))


METRICS = {
    "RMSE": root_mean_square,
    "1 - SSIM": plx.metric.ssim_distance,
    "1 - MS-SSIM": plx.metric.ms_ssim_distance,
    "NLPD": plx.metric.nlpd,
    "NLPD, MATLAB": lambda x, y: plx.metric.nlpd(x, y, variant="matlab"),
}


def find_data(folder):
    try:
        folder = plx.data.fetch_data("tid2013.tar.gz") if folder is None else pathlib.Path(folder)
    except (ConnectionError, OSError) as error:
        sys.exit(f"TID2013 is not at hand, and could not be downloaded: {error}")
    parts = ("reference_images", "distorted_images", "mos.txt")
    missing = [part for part in parts if not (folder / part).exists()]
    if missing:
        sys.exit(f"{folder} is not a folder of TID2013: it lacks {', '.join(missing)}.")
    return folder


def load(paths, name):
    # Some names are in upper case.
    if name not in paths:
        sys.exit(f"TID2013 is not complete: there is no {name}.")
    return plx.load_images(paths[name], as_gray=True)


def distances(folder, num_images):
    """Of each metric, for each photograph, type and level."""
    references, distorted = (
        {path.name.lower(): path for path in (folder / part).iterdir()}
        for part in ("reference_images", "distorted_images")
    )
    compare = {
        name: jax.jit(jax.vmap(metric, in_axes=(None, 0))) for name, metric in METRICS.items()
    }
    found = {name: np.zeros((num_images, NUM_TYPES, NUM_LEVELS)) for name in METRICS}
    for i in range(num_images):
        reference = load(references, f"i{i + 1:02d}.bmp")
        for j in range(NUM_TYPES):
            names = [f"i{i + 1:02d}_{j + 1:02d}_{k + 1}.bmp" for k in range(NUM_LEVELS)]
            images = jnp.stack([load(distorted, name) for name in names])
            for name, metric in compare.items():
                found[name][i, j] = metric(reference, images)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", help="TID2013, where you have it")
    parser.add_argument("--quick", action="store_true", help="two photographs, to see that it runs")
    options = parser.parse_args()
    folder = find_data(options.folder)
    num_images = 2 if options.quick else NUM_IMAGES
    kept = [j for j in range(NUM_TYPES) if j not in COLOR_TYPES]
    scores = np.loadtxt(folder / "mos.txt").reshape(NUM_IMAGES, NUM_TYPES, NUM_LEVELS)
    scores = scores[:num_images, kept].ravel()
    print("| metric | Pearson | Spearman |")
    print("|---|---|---|")
    for name, values in distances(folder, num_images).items():
        values = values[:, kept].ravel()
        pearson = scipy.stats.pearsonr(-scores, values).statistic
        spearman = scipy.stats.spearmanr(-scores, values).statistic
        print(f"| {name} | {pearson:.4f} | {spearman:.4f} |")


if __name__ == "__main__":
    main()
