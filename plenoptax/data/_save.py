from os import PathLike
from pathlib import Path

import numpy as np
from jaxtyping import Array, Float
from numpy.typing import DTypeLike

from .._axes import advise_on_axes
from .._writing import write_atomically


# The extensions of lossless formats, by channels and bits. Pillow, with which imageio writes all
# formats except TIFF, has no 16-bit color.
_EXTENSIONS = {
    (1, 8): (".png", ".tif", ".tiff", ".bmp", ".pgm"),
    (3, 8): (".png", ".tif", ".tiff", ".bmp", ".ppm"),
    (1, 16): (".png", ".tif", ".tiff", ".pgm"),
    (3, 16): (".tif", ".tiff"),
}


def convert_float_to_int(
    image: Float[Array | np.ndarray, "..."], dtype: DTypeLike = np.uint8, *, truncate: bool = False
) -> np.ndarray:
    """Convert an image in [0, 1] to integers of 8 or 16 bits.

    Args:
        image: Any shape, values in [0, 1].
        dtype: ``np.uint8`` (1 becomes 255) or ``np.uint16`` (1 becomes 65535).
        truncate: Whether to drop the fraction, as plenoptic does, which darkens an image by half a
            level on average. The default rounds to the nearest level, and is exact for what was
            loaded from an integer file.

    Returns:
        A NumPy array of the same shape.

    Raises:
        ValueError: If ``dtype`` is another one, or values lie outside [0, 1] or are not finite.

    Example:
        >>> import numpy as np
        >>> from plenoptax.data import convert_float_to_int
        >>> convert_float_to_int(np.array([0.0, 0.4999, 1.0]))
        array([  0, 127, 255], dtype=uint8)
    """
    dtype = _integer_type(dtype)
    pixels = np.asarray(image, np.float64)
    if pixels.size and not (pixels.min() >= 0 and pixels.max() <= 1):
        raise ValueError(
            f"The values of the image must be in [0, 1], got {pixels.min():.6g} to "
            f"{pixels.max():.6g}. Clip or rescale it first."
        )
    levels = pixels * np.iinfo(dtype).max
    return (np.trunc(levels) if truncate else np.rint(levels)).astype(dtype)


def save_image(
    path: str | PathLike,
    image: Float[Array | np.ndarray, "channel height width"],
    *,
    dtype: DTypeLike = np.uint8,
    clip: bool = False,
) -> None:
    """Write one image to a file, losslessly apart from the rounding to 8 or 16 bits.

    The image is written to a temporary file, which replaces the target when it is complete.

    Args:
        path: The extension decides the format: ``.png``, ``.tif`` or ``.tiff``, ``.bmp`` (8 bits),
            ``.pgm`` (gray) or ``.ppm`` (color, 8 bits).
        image: One channel (gray) or three (red, green, blue), values in [0, 1].
        dtype: ``np.uint8`` or ``np.uint16``. Only TIFF holds color of 16 bits.
        clip: Whether to clip values to [0, 1]. The default accepts only values that round to the
            first or last level, because a clipped stimulus is another stimulus.

    Raises:
        ValueError: If the extension, the shape, the dtype or the values do not fit.
        FileNotFoundError: If the folder does not exist.

    Example:
        >>> import tempfile
        >>> import plenoptax as plx
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plx.data.save_image(f"{folder}/stimulus.png", plx.data.zone_plate(64))
        ...     plx.data.load_images(f"{folder}/stimulus.png").shape
        (1, 64, 64)
    """
    path = Path(path)
    write_atomically({path: encode_image(path, image, dtype=dtype, clip=clip)})


def encode_image(
    path: Path,
    image: Float[Array | np.ndarray, "..."],
    *,
    dtype: DTypeLike = np.uint8,
    clip: bool = False,
) -> bytes:
    """Return the content that `save_image` writes to a file of that name."""
    dtype = _integer_type(dtype)
    pixels = np.asarray(image, np.float64)
    _check_format(path, pixels.shape, dtype)
    margin = np.finfo(np.float64).max if clip else 0.5 / np.iinfo(dtype).max
    if not (pixels.min() >= -margin and pixels.max() <= 1 + margin):
        raise ValueError(
            f"The values of the image must be in [0, 1], got {pixels.min():.6g} to "
            f"{pixels.max():.6g}. Give clip=True to clip them."
        )
    return _encode(convert_float_to_int(np.clip(pixels, 0, 1), dtype), path.suffix.lower())


def _integer_type(dtype: DTypeLike) -> np.dtype:
    if np.dtype(dtype) not in (np.uint8, np.uint16):
        raise ValueError(f"dtype must be uint8 or uint16, got {np.dtype(dtype)}.")
    return np.dtype(dtype)


def _check_format(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if len(shape) != 3 or shape[0] not in (1, 3) or 0 in shape:
        several = " It holds several images: write each to a file of its own." * (len(shape) > 3)
        raise ValueError(
            "The image must have the shape (1, height, width) or (3, height, width), got "
            f"{shape}.{advise_on_axes(shape) or several}"
        )
    extensions = _EXTENSIONS[shape[0], 8 * dtype.itemsize]
    if path.suffix.lower() not in extensions:
        raise ValueError(
            f"The extension for {shape[0]} channel(s) of {8 * dtype.itemsize} bits must be one of "
            f"{', '.join(extensions)}, which are lossless, got {path}."
        )


def _encode(levels: np.ndarray, extension: str) -> bytes:
    import imageio.v3 as iio

    pixels = levels[0] if len(levels) == 1 else np.moveaxis(levels, 0, -1)
    if pixels.ndim == 3 and pixels.dtype == np.uint16:
        return iio.imwrite("<bytes>", pixels, plugin="tifffile", photometric="rgb")
    return iio.imwrite("<bytes>", pixels, extension=extension, plugin="pillow")
