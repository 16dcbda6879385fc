from typing import NamedTuple

import numpy as np

from ._color import Encoding


class NotAnImage(ValueError):
    """The file is no image, as distinct from an image that cannot be read."""


class Picture(NamedTuple):
    """What a file says of its pixels.

    Attributes:
        pixels: Shape ``(height, width, channel)``, gray or color as the file codes it, 1 is white.
        alpha: Shape ``(height, width, 1)``, 1 is opaque; None if nothing is transparent.
        encoding: How the values are coded, None if the file does not say.
        orientation: From 1 (upright) to 8, as TIFF and EXIF count them.
        is_float: Whether the file holds floating-point numbers.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    encoding: Encoding | None = None
    orientation: int = 1
    is_float: bool = False


def check_size(height: int, width: int, max_pixels: int) -> None:
    if height < 1 or width < 1:
        raise ValueError(f"its header gives a size of {height} by {width} pixels")
    if height * width > max_pixels:
        raise ValueError(
            f"it has {height} by {width} pixels, {height * width} in all, and max_pixels is "
            f"{max_pixels}: crop or shrink it, or give a larger max_pixels"
        )


def unpack_bits(rows: np.ndarray, bits: int, count: int) -> np.ndarray:
    """Samples of any number of bits, the first in the highest bits of its byte.

    Args:
        rows: Bytes of shape ``(row, bytes)``. Each row starts with a new byte.
        bits: Of a sample, at most 32.
        count: How many samples a row holds.
    """
    if bits == 8:
        return rows[:, :count]
    planes = np.unpackbits(rows, axis=-1, count=count * bits).reshape(len(rows), count, bits)
    samples = np.zeros((len(rows), count), np.min_scalar_type(2**bits - 1))
    for position in range(bits):
        samples <<= 1
        samples |= planes[..., position]
    return samples
