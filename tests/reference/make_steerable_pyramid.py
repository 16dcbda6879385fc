"""Write steerable_pyramid.npz: what plenoptic 2.1.1 computes from a small image of noise.

Needs plenoptic: ``python tests/reference/make_steerable_pyramid.py``.
"""

import pathlib

import numpy as np
import plenoptic
import torch


ANGLES = [0.0, 0.3, 2.0, -4.0]
CONFIGURATIONS = {
    "real": dict(height=2, order=3),
    "complex": dict(height=2, order=2, is_complex=True),
    "tight": dict(height=1, order=1, is_complex=True, tight_frame=True),
    "same_size": dict(height=2, order=1, downsample=False),
}


def pyramids(image):
    values = {}
    for name, options in CONFIGURATIONS.items():
        pyramid = plenoptic.process.SteerablePyramidFreq(image.shape[-2:], **options).double()
        coefficients = pyramid(image)
        for key, level in coefficients.items():
            values[f"{name}/{key}"] = level[0]
        values[f"{name}/recon_scale_0"] = pyramid.recon_pyr(coefficients, [0])[0]
        part = pyramid.recon_pyr(coefficients, [0, "residual_lowpass"], [1])
        values[f"{name}/recon_band_1_and_lowpass"] = part[0]
        if not pyramid.is_complex:
            for even in (True, False):
                steered, weights = pyramid.steer_coeffs(coefficients, ANGLES, even)
                values[f"{name}/steered_even_{even}"] = steered[0][0]
                values[f"{name}/weights_even_{even}"] = weights[0]
    return values


def signals(image):
    bands = image + 1j * image.flip(-1)
    return {
        "expand_2": plenoptic.process.expand(image, 2)[0],
        "expand_1.5_complex": plenoptic.process.expand(bands, 1.5)[0],
        "shrink_2": plenoptic.process.shrink(image, 2)[0],
        "shrink_1.5_complex": plenoptic.process.shrink(bands[..., :24], 1.5)[0],
        "autocorrelation": plenoptic.process.autocorrelation(image)[0],
        "modulate_phase_2": plenoptic.process.modulate_phase(bands, 2)[0],
        "modulate_phase_0.5": plenoptic.process.modulate_phase(bands, 0.5)[0],
        "skew": plenoptic.process.skew(image, dim=[-2, -1])[0],
        "kurtosis": plenoptic.process.kurtosis(image, dim=[-2, -1])[0],
        "polar_angle": plenoptic.data.polar_angle((7, 10), 0.7, (2, 3), "counter-clockwise"),
        "polar_radius": plenoptic.data.polar_radius((7, 10), -0.5, (2.5, 3.5)),
        "disk": plenoptic.data.disk((11, 14), 5, 3),
    }


def main():
    image = np.random.default_rng(7).uniform(size=(1, 24, 32))
    tensor = torch.as_tensor(image)[None]
    values = {name: value.numpy() for name, value in (pyramids(tensor) | signals(tensor)).items()}
    # Half of the digits are plenoptic's own rounding.
    for name, value in values.items():
        values[name] = value.astype(np.complex64 if np.iscomplexobj(value) else np.float32)
    path = pathlib.Path(__file__).with_name("steerable_pyramid.npz")
    np.savez_compressed(path, image=image, angles=ANGLES, **values)


if __name__ == "__main__":
    main()
