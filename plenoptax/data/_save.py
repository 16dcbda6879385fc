from os import PathLike
from pathlib import Path

import numpy as np
from jaxtyping import Array, Float
from numpy.typing import DTypeLike

from .._axes import advise_on_axes
from .._writing import write_atomically


# By channels and bits, what gives back the pixels that were written. JPEG does not, and Pillow, by
# which imageio writes all but TIFF, has no 16-bit color.
_EXTENSIONS = {
    (1, 8): (".png", ".tif", ".tiff", ".bmp", ".pgm"),
    (3, 8): (".png", ".tif", ".tiff", ".bmp", ".ppm"),
    (1, 16): (".png", ".tif", ".tiff", ".pgm"),
    (3, 16): (".tif", ".tiff"),
}


def convert_float_to_int(
    image: Float[Array | np.ndarray, "..."], dtype: DTypeLike = np.uint8, *, truncate: bool = False
) -> np.ndarray:
    """Converts an image in [0, 1] to integers of 8 or 16 bits.

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
            f"the image has values from {pixels.min():.6g} to {pixels.max():.6g}, but they have to "
            "lie in [0, 1]: clip or rescale it first"
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
    """Writes one image to a file, without any loss but that of rounding to 8 or 16 bits.

    The file appears whole or not at all: it is written beside the target under a hidden name and
    moved there when complete, replacing a file of that name.

    Args:
        path: The extension decides the format: ``.png``, ``.tif`` or ``.tiff``, ``.bmp`` (8 bits),
            ``.pgm`` (gray) or ``.ppm`` (color, 8 bits).
        image: One channel (gray) or three (red, green, blue), values in [0, 1].
        dtype: ``np.uint8`` or ``np.uint16``. Color of 16 bits is for TIFF only.
        clip: Whether values outside [0, 1] are moved to the nearer end. The default accepts only
            what rounds to the first or last level, because a clipped stimulus is another stimulus.

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
    """What `save_image` writes to a file of that name."""
    dtype = _integer_type(dtype)
    pixels = np.asarray(image, np.float64)
    _check_format(path, pixels.shape, dtype)
    margin = np.finfo(np.float64).max if clip else 0.5 / np.iinfo(dtype).max
    if not (pixels.min() >= -margin and pixels.max() <= 1 + margin):
        raise ValueError(
            f"the image has values from {pixels.min():.6g} to {pixels.max():.6g}, but they have to "
            "lie in [0, 1]: give clip=True to clip them"
        )
    return _encode(convert_float_to_int(np.clip(pixels, 0, 1), dtype), path.suffix.lower())


def _integer_type(dtype: DTypeLike) -> np.dtype:
    if np.dtype(dtype) not in (np.uint8, np.uint16):
        raise ValueError(f"dtype is {np.dtype(dtype)}, but has to be uint8 or uint16")
    return np.dtype(dtype)


def _check_format(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
    if len(shape) != 3 or shape[0] not in (1, 3) or 0 in shape:
        raise ValueError(
            f"the image has shape {shape}, but a file holds one image of shape "
            f"(1, height, width) or (3, height, width).{advise_on_axes(shape)}"
        )
    extensions = _EXTENSIONS[shape[0], 8 * dtype.itemsize]
    if path.suffix.lower() not in extensions:
        raise ValueError(
            f"{path} has the extension {path.suffix!r}, but an image of {shape[0]} channel(s) and "
            f"{8 * dtype.itemsize} bits is written without loss as {', '.join(extensions)}"
        )
    if not path.parent.is_dir():
        raise FileNotFoundError(f"{path} cannot be written: there is no folder {path.parent}")


def _encode(levels: np.ndarray, extension: str) -> bytes:
    import imageio.v3 as iio

    pixels = levels[0] if len(levels) == 1 else np.moveaxis(levels, 0, -1)
    if pixels.ndim == 3 and pixels.dtype == np.uint16:
        return iio.imwrite("<bytes>", pixels, plugin="tifffile", photometric="rgb")
    return iio.imwrite("<bytes>", pixels, extension=extension, plugin="pillow")
