"""Make the picture of the README: three textures, and three metamers of each from other seeds.

python docs/images/make_textures.py
"""

import pathlib

import jax
import numpy as np

import plenoptax as plx


NAMES = ("brick", "grass", "gravel")
NUM_SEEDS = 3
GAP = 8


def make_row(name):
    """The photograph and its metamers, side by side in one array."""
    image = plx.data.get(name)
    model = plx.models.PortillaSimoncelli(image.shape[-2:])
    tiles = [np.asarray(image[0])]
    for seed in range(NUM_SEEDS):
        result = plx.metamer(image, model, key=jax.random.key(seed), max_steps=1000)
        print(f"{name}, seed {seed}: loss {result.trace.losses[-1]:.5f}")
        tiles.append(np.clip(np.asarray(result.image[0]), 0, 1))
    gap = np.ones((tiles[0].shape[0], GAP))
    wide = np.ones((tiles[0].shape[0], 3 * GAP))
    return np.concatenate([tiles[0], wide, *_between(tiles[1:], gap)], axis=1)


def _between(tiles, gap):
    return [part for tile in tiles for part in (tile, gap)][:-1]


def main():
    rows = [make_row(name) for name in NAMES]
    gap = np.ones((GAP, rows[0].shape[1]))
    picture = np.concatenate(_between(rows, gap), axis=0)
    plx.data.save_image(pathlib.Path(__file__).with_name("textures.png"), picture[None])


if __name__ == "__main__":
    main()
