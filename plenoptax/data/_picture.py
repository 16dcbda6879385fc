from typing import NamedTuple

import numpy as np

from ._color import Encoding


class NotAnImage(ValueError):
    """The error for a file that is not an image, in contrast to an image that cannot be read."""


class Picture(NamedTuple):
    """The pixels of a file, and what they mean.

    Attributes:
        pixels: Gray or color, coded as in the file, of shape ``(height, width, channel)``; 1 is
            white.
        alpha: The opacity, of shape ``(height, width, 1)``; 1 is opaque, None means all opaque.
        encoding: The coding of the values, None if the file does not say.
        orientation: The orientation, from 1 (upright) to 8, as in TIFF and EXIF.
        is_float: Whether the file holds floating-point numbers.
    """

    pixels: np.ndarray
    alpha: np.ndarray | None = None
    encoding: Encoding | None = None
    orientation: int = 1
    is_float: bool = False


def check_size(height: int, width: int, max_pixels: int) -> None:
    if height < 1 or width < 1:
        raise ValueError(f"its header gives a size of {height} by {width} pixels.")
    if height * width > max_pixels:
        raise ValueError(
            f"it has {height} by {width} pixels, {height * width} in total, and max_pixels is "
            f"{max_pixels}. Crop or shrink it, or give a larger max_pixels."
        )


def unpack_bits(rows: np.ndarray, bits: int, count: int) -> np.ndarray:
    """Unpack samples of any number of bits; the first sample is in the highest bits of its byte.

    Args:
        rows: The bytes, of shape ``(row, bytes)``. Each row starts with a new byte.
        bits: The number of bits of a sample, at most 32.
        count: The number of samples in a row.
    """
    if bits == 8:
        return rows[:, :count]
    planes = np.unpackbits(rows, axis=-1, count=count * bits).reshape(len(rows), count, bits)
    samples = np.zeros((len(rows), count), np.min_scalar_type(2**bits - 1))
    for position in range(bits):
        samples <<= 1
        samples |= planes[..., position]
    return samples
