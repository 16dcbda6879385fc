from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np


# The chromaticities (x, y) of red, green, blue and white.
_D65 = (0.3127, 0.3290)
PRIMARIES = {
    "sRGB": ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), _D65),
    "BT.2020": ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), _D65),
    "P3": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), _D65),
}

# Half of an 8-bit level.
_TOLERANCE = 0.5 / 255

_BRADFORD = np.array(
    [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]]
)
# The white point of ICC profiles.
D50 = np.array([0.9642, 1.0, 0.8249])


class Encoding(NamedTuple):
    """The coding of the values of a file.

    Attributes:
        curves: The functions from values to linear light, one for all channels or one for each.
        to_srgb: The matrix from linear light to that of sRGB, shape (3, 3); None for gray and for
            the primaries of sRGB.
        is_profile: Whether images are converted to sRGB even if linear light is not requested.
    """

    curves: tuple[Callable[[np.ndarray], np.ndarray], ...]
    to_srgb: np.ndarray | None = None
    is_profile: bool = False


def decode_srgb(values: np.ndarray) -> np.ndarray:
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def encode_srgb(light: np.ndarray) -> np.ndarray:
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


def power_curve(exponent: float) -> Callable[[np.ndarray], np.ndarray]:
    return lambda values: values**exponent


SRGB = Encoding((decode_srgb,))


def colorants(red: Any, green: Any, blue: Any, white: Any) -> np.ndarray:
    """Return the tristimulus values under D50 of red, green and blue, the columns."""
    tristimulus = np.array([(x / y, 1, (1 - x - y) / y) for x, y in (red, green, blue, white)]).T
    primaries, white_point = tristimulus[:, :3], tristimulus[:, 3]
    scaled = primaries * np.linalg.solve(primaries, white_point)
    gain = (_BRADFORD @ D50) / (_BRADFORD @ white_point)
    return np.linalg.solve(_BRADFORD, gain[:, None] * (_BRADFORD @ scaled))


def to_srgb(colorants_of_file: np.ndarray) -> np.ndarray:
    return np.linalg.solve(colorants(*PRIMARIES["sRGB"]), colorants_of_file)


def is_srgb(encoding: Encoding) -> bool:
    """Return whether the conversion to sRGB changes no value by half an 8-bit level."""
    ramp = np.linspace(0, 1, 256)[:, None]
    if len(encoding.curves) == 1 and encoding.to_srgb is None:
        probe = ramp
    else:
        corners = np.stack(np.meshgrid(*[np.linspace(0, 1, 5)] * 3), axis=-1).reshape(-1, 3)
        probe = np.concatenate([np.repeat(ramp, 3, axis=1), corners])
    converted = encode_srgb(np.clip(to_linear(probe, encoding), 0, 1))
    return bool(np.abs(converted - probe).max() < _TOLERANCE)


def to_linear(pixels: np.ndarray, encoding: Encoding) -> np.ndarray:
    """Return linear light on the primaries of sRGB; colors outside of sRGB leave [0, 1]."""
    curves = encoding.curves
    if pixels.shape[-1] == 1:
        # A gray file uses one of the three curves of a color profile.
        return curves[len(curves) // 2](pixels)
    if len(curves) == 1:
        light = curves[0](pixels)
    else:
        light = np.stack([curve(pixels[..., i]) for i, curve in enumerate(curves)], axis=-1)
    return light if encoding.to_srgb is None else light @ encoding.to_srgb.T


def convert(
    pixels: np.ndarray, encoding: Encoding | None, linear: bool
) -> tuple[np.ndarray, float]:
    """Convert pixels to sRGB, or to linear light.

    Returns:
        The pixels, and the fraction of them with a color outside of sRGB.
    """
    if not linear and not (encoding and encoding.is_profile):
        return pixels, 0.0
    light = to_linear(pixels, encoding or SRGB)
    outside = np.any((light < -_TOLERANCE) | (light > 1 + _TOLERANCE), axis=-1).mean()
    if linear:
        return light, float(outside)
    return encode_srgb(np.clip(light, 0, 1)), float(outside)
