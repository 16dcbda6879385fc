import warnings
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ._color import convert
from ._netpbm import matches_netpbm, read_netpbm
from ._picture import NotAnImage, Picture
from ._pillow import read_other
from ._png import PNG_SIGNATURE, read_png
from ._tiff import read_tiff, TIFF_SIGNATURES


def read_image(
    path: Path, as_gray: bool, *, linear: bool, orientation: str, max_pixels: int
) -> np.ndarray:
    """Read one file as float64 in [0, 1], of shape ``(channel, height, width)``."""
    with open(path, "rb") as stream:
        # Decoders raise anything on damaged data: OSError, SyntaxError, struct.error, zlib.error.
        try:
            picture = _read(stream, max_pixels)
        except Exception as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            kind = NotAnImage if isinstance(error, NotAnImage) else ValueError
            raise kind(f"{path} cannot be read: {reason}") from error
    _check_values(path, picture, linear)
    pixels, outside = _convert(picture, as_gray, linear)
    if outside > 0:
        warnings.warn(
            f"{path}: {outside:.2%} of its pixels have colors outside of sRGB, which are clipped.",
            stacklevel=3,
        )
    if orientation == "apply":
        pixels = _turn(pixels, picture.orientation)
    return np.moveaxis(pixels, -1, 0)


def _read(stream: BinaryIO, max_pixels: int) -> Picture:
    start = stream.read(1024)
    stream.seek(0)
    if start.startswith(PNG_SIGNATURE):
        return read_png(stream, max_pixels)
    if start.startswith(TIFF_SIGNATURES):
        return read_tiff(stream, max_pixels)
    if matches_netpbm(start):
        return read_netpbm(stream, max_pixels)
    return read_other(stream, max_pixels)


def _check_values(path: Path, picture: Picture, linear: bool) -> None:
    for values in (picture.pixels, picture.alpha):
        if values is not None and not (values.min() >= 0 and values.max() <= 1):
            raise ValueError(
                f"{path} has values from {values.min():.4g} to {values.max():.4g}. A "
                "floating-point image must be in [0, 1], and an integer one must not be negative."
            )
    if linear and picture.is_float and picture.encoding is None:
        raise ValueError(
            f"{path} holds floating-point numbers and does not say whether they are linear. Load "
            "it with linear=False, which does not change them."
        )


def _convert(picture: Picture, as_gray: bool, linear: bool) -> tuple[np.ndarray, float]:
    """Return one or three channels, the last axis, and the fraction of pixels outside of sRGB."""
    pixels, outside = convert(picture.pixels, picture.encoding, linear)
    if picture.alpha is not None:
        pixels = 1 - picture.alpha * (1 - pixels)
    if as_gray and pixels.shape[-1] == 3:
        pixels = pixels @ np.array([[0.2125], [0.7154], [0.0721]])
    elif not as_gray and pixels.shape[-1] == 1:
        pixels = np.repeat(pixels, 3, axis=-1)
    # Clip rounding errors, and linear colors outside of sRGB.
    return np.clip(pixels, 0, 1) if linear else pixels, outside


def _turn(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """Rotate or flip the image upright, as TIFF 6.0 defines the orientations.

    For the orientations 5 to 8, the rows of the file are columns of the image.
    """
    if orientation in (5, 6, 7, 8):
        pixels = np.swapaxes(pixels, 0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels
