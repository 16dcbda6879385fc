"""Write synthetic_stimuli.npz: the ten noiseless stimuli of plenoptic 1.x's make_synthetic_stimuli.

Run as ``python tests/reference/make_synthetic_stimuli.py`` with pyrtools 1.1 installed, from which
plenoptic 1.x composed them. Sizes even and odd, each stimulus scaled to [0, 1], float32.
"""

from pathlib import Path

import numpy as np
from pyrtools import synthetic_images as pt


def stimuli(size):
    middle, tenth = size // 2, size // 10
    bar = np.zeros((size, size))
    bar[middle - tenth : middle + tenth, middle - 1 : middle + 1] = 1
    window = pt.gaussian(size, covariance=size)
    images = [
        pt.impulse(size, origin=middle),
        pt.square_wave(size, period=size + 1, direction=0),
        pt.ramp(size, direction=np.pi / 2),
        bar,
        pt.disk(size, radius=size / 1.2, origin=size),
        pt.sine(size) * window,
        pt.square_wave(size, frequency=(0.5, 0.5), phase=2 * np.pi / 3) * window,
        pt.polar_angle(size),
        pt.angular_sine(size, harmonic=6),
        pt.zone_plate(size),
    ]
    return np.stack([(image - image.min()) / np.ptp(image) for image in images])


if __name__ == "__main__":
    np.savez_compressed(
        Path(__file__).with_name("synthetic_stimuli.npz"),
        **{str(size): stimuli(size).astype(np.float32) for size in (32, 45)},
    )
