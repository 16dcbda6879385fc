"""Write portilla_simoncelli.npz: the statistics that plenoptic 2.1.1 measures in float64.

Needs plenoptic: ``python tests/reference/make_portilla_simoncelli.py``.
"""

import pathlib

import numpy as np
import plenoptic
import torch


PATH = pathlib.Path(__file__).with_name("portilla_simoncelli.npz")

# Shape of the image, number of scales, number of orientations, width of the autocorrelations.
CONFIGURATIONS = (
    ((128, 128), 4, 4, 7),
    ((64, 48), 3, 3, 6),
    ((32, 48), 2, 4, 8),
    ((32, 40), 2, 2, 5),
    ((32, 24), 1, 3, 9),
    ((16, 24), 1, 2, 4),
)


def texture(shape, rng):
    """A texture with energy and edges at all scales, of 8 bits."""
    height, width = shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    spectrum = np.fft.fft2(rng.standard_normal(shape)) / np.maximum(frequency, 1 / max(shape))
    values = np.tanh(2 * np.fft.ifft2(spectrum).real / np.std(np.fft.ifft2(spectrum).real))
    values += 0.1 * rng.standard_normal(shape)
    return np.round(255 * (values - values.min()) / np.ptp(values)).astype(np.uint8)


def main():
    rng = np.random.default_rng(11)
    arrays = {}
    for number, (shape, *arguments) in enumerate(CONFIGURATIONS):
        image = texture(shape, rng)
        model = plenoptic.models.PortillaSimoncelli(shape, *arguments).double()
        representation = model(torch.as_tensor(image / 255)[None, None])
        arrays[f"image_{number}"] = image
        arrays[f"arguments_{number}"] = np.array(arguments)
        arrays[f"representation_{number}"] = representation[0].numpy()
        arrays[f"scales_{number}"] = model._representation_scales.astype(str)
    np.savez_compressed(PATH, **arrays)


if __name__ == "__main__":
    main()
