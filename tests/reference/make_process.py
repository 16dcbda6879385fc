"""Write process.npz: what plenoptic 2.1.1 computes from a small image of noise, in float64.

Needs plenoptic: ``python tests/reference/make_process.py``.
"""

import pathlib

import numpy as np
import plenoptic
import pyrtools
import torch
from plenoptic.process.signal import _interpolate1d, _raised_cosine, _steer


MODES = ["constant", "reflect", "replicate", "circular"]
FILTERS = ["binom2", "binom6", "haar", "gauss3", "qmf5", "qmf8", "qmf9", "qmf12", "qmf13", "qmf16"]
FILTERS += ["daub2", "daub3", "daub4"]
RESAMPLED = ["binom2", "qmf9", "daub3"]


def pyramids(image):
    values = {}
    for scaled in (True, False):
        for i, band in enumerate(plenoptic.process.LaplacianPyramid(3, scaled)(image)):
            values[f"pyramid_{scaled}/{i}"] = band
        for name in RESAMPLED:
            down = plenoptic.process.blur_downsample(image, 1, name, scaled)
            values[f"down_{scaled}/{name}"] = down
            values[f"up_{scaled}/{name}"] = plenoptic.process.upsample_blur(
                down, (1, 0), 1, name, scaled
            )
    values["down_twice"] = plenoptic.process.blur_downsample(image, 2)
    values["up_twice"] = plenoptic.process.upsample_blur(values["down_twice"], (0, 1), 2)
    return values


def resampled(image, filt):
    values = {}
    for mode in MODES:
        down = plenoptic.process.correlate_downsample(image, filt, mode)
        values[f"correlate/{mode}"] = down
        values[f"convolve/{mode}"] = plenoptic.process.upsample_convolve(down, (0, 1), filt, mode)
    return values


def nonlinear(image):
    bands = image + 1j * image.flip(-1)
    values = {}
    for name, x in (("real", image), ("complex", bands)):
        values[f"norm_{name}"], values[f"direction_{name}"] = plenoptic.process.local_gain_control(
            x
        )
        polar = plenoptic.process.rectangular_to_polar(x - 0.5)
        values[f"amplitude_{name}"], values[f"phase_{name}"] = polar
    return values


def signals(image):
    X, Y = _raised_cosine(0.7, -1.2, (3, -1))
    at = torch.linspace(-2, 0, 21).reshape(3, 7)
    values = {"cosine_X": X, "cosine_Y": Y, "interpolated": _interpolate1d(at, Y, X)}
    for num in (3, 4):
        for even in (True, False):
            steered = _steer(image[0, 0, :, :num], 0.7, even_phase=even)
            values[f"steered_{num}_{even}"], values[f"weights_{num}_{even}"] = steered
    return values


def main():
    torch.set_default_dtype(torch.float64)
    rng = np.random.default_rng(11)
    image, filt = rng.uniform(size=(1, 21, 16)), rng.standard_normal((3, 4))
    tensor = torch.as_tensor(image)[None]
    values = pyramids(tensor) | nonlinear(tensor) | resampled(tensor, torch.as_tensor(filt))
    values = {name: value[0].numpy() for name, value in values.items()}
    values |= {name: np.asarray(value) for name, value in signals(tensor).items()}
    path = pathlib.Path(__file__).with_name("process.npz")
    filters = {f"filter/{name}": pyrtools.named_filter(name).ravel() for name in FILTERS}
    np.savez_compressed(path, image=image, filt=filt, **filters, **values)


if __name__ == "__main__":
    main()
