import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._rules import checked, COUNT
from ._picture import NotAnImage
from ._read import read_image


@checked(max_pixels=COUNT)
def load_images(
    paths: str | PathLike | Sequence[str | PathLike],
    as_gray: bool = True,
    sorted_key: Callable[[Path], Any] | None = None,
    *,
    linear: bool = False,
    orientation: str = "apply",
    max_pixels: int = 2**26,
) -> Float[Array, "*image channel height width"]:
    """Read image files, scaled to [0, 1] according to their metadata.

    PNG, TIFF and Netpbm (PBM, PGM, PPM, PAM, PFM) are read at their full depth; JPEG, GIF, BMP,
    WebP, AVIF, JPEG 2000, Photoshop, QOI, ICO, SGI, PCX and TGA are read if they have 8 bits.

    Integers are divided by the largest value that the file allows: 255 for 8 bits, 65535 for 16,
    32767 for signed 16, the stated maximum for Netpbm. Therefore, a stimulus written by
    ``save_image`` comes back unchanged. Floating-point files are not scaled and must be in [0, 1].
    A TIFF may say that 0 is white; its values are then inverted. Palettes are expanded,
    transparency is composited on white, and a stored orientation (TIFF, EXIF) is applied.

    **Scale.** By default, the values stay coded as in the file. In most files the coding is sRGB,
    and gray is then luma, a weighted sum of coded values and not of light. With ``linear=True`` the
    values are proportional to light, and gray is luminance. The coding is then that of an ICC
    profile, or of the chunks cICP, sRGB, or gAMA and cHRM of PNG, and sRGB if the file does not
    say. An ICC profile or cICP that is not sRGB is converted to sRGB by default, too, at full
    depth; colors outside of sRGB are clipped, with a warning. Profiles made of tables raise an
    error that names them.

    Args:
        paths: A file, a list of files, or a folder. Every image directly in a folder is read. Files
            in it that are not images are skipped with a warning; an image that cannot be read
            raises an error.
        as_gray: Whether color becomes gray, with the weights 0.2125, 0.7154 and 0.0721 of red,
            green and blue. If False, every file gives three channels; those of gray files are
            equal.
        sorted_key: The sort key for the files of a folder: a function of the ``pathlib.Path``, like
            the ``key`` of ``sorted``. None sorts by name. Only for a folder.
        linear: Whether to return linear light. False, as in plenoptic, keeps the coded values.
        orientation: ``"apply"`` rotates or flips the image as the file says, ``"ignore"`` keeps the
            rows and columns as stored.
        max_pixels: The largest number of pixels of an image. Larger images are refused before they
            are decoded. The default is 8192 by 8192, which take about 2.5 GB in color.

    Returns:
        Shape ``(channel, height, width)`` for a file, ``(image, channel, height, width)`` for a
        list or a folder. float32, or float64 where 64-bit types are enabled.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If a file is not an image, is damaged, holds several frames, or has more than
            ``max_pixels`` pixels or more than its reader takes; if its format, its compression or
            its colors (such as CMYK) are not supported; if ``linear`` is True for floating-point
            numbers of unknown coding; if the images differ in size; if there are no images; or if
            an argument is out of range.

    Example:
        >>> import tempfile
        >>> import plenoptax as plx
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     plx.data.save_image(f"{folder}/cat.png", plx.data.chelsea())
        ...     plx.data.load_images(f"{folder}/cat.png", as_gray=False).shape
        ...     plx.data.load_images(folder).shape
        (3, 256, 256)
        (1, 1, 256, 256)
    """
    if orientation not in ("apply", "ignore"):
        raise ValueError(f"orientation must be 'apply' or 'ignore', got {orientation!r}.")
    read = partial(
        read_image, as_gray=as_gray, linear=linear, orientation=orientation, max_pixels=max_pixels
    )
    if isinstance(paths, str | PathLike) and Path(paths).is_dir():
        return _stack(_read_folder(Path(paths), read, sorted_key))
    if sorted_key is not None:
        raise ValueError(
            f"sorted_key must be None unless paths is a folder, got paths={paths!r}. Sort the "
            "files yourself."
        )
    if isinstance(paths, str | PathLike):
        return jnp.asarray(read(Path(paths)))
    files = [Path(path) for path in paths]
    if not files:
        raise ValueError("paths must hold at least one image file, got an empty list.")
    return _stack([(file, read(file)) for file in files])


def to_numpy(x: Any, squeeze: bool = False) -> np.ndarray:
    """Convert a JAX array to a NumPy array on the host.

    Args:
        x: A JAX or NumPy array, or anything else that ``numpy.asarray`` accepts.
        squeeze: Whether to drop the axes of length 1.

    Returns:
        A NumPy array of the same dtype; for a JAX array it is read-only (copy it to change it).

    Example:
        >>> import plenoptax as plx
        >>> plx.data.to_numpy(plx.data.camera(), squeeze=True).shape
        (256, 256)
    """
    array = np.asarray(x)
    return array.squeeze() if squeeze else array


def _read_folder(
    folder: Path, read: Callable[[Path], np.ndarray], sorted_key: Callable[[Path], Any] | None
) -> list[tuple[Path, np.ndarray]]:
    images, skipped = [], []
    for path in sorted(folder.iterdir(), key=sorted_key):
        if path.is_dir():
            skipped.append(path.name)
            continue
        try:
            images.append((path, read(path)))
        except NotAnImage:
            skipped.append(path.name)
    if skipped:
        warnings.warn(
            f"Skipped in {folder}, because they are not images: {', '.join(skipped)}.", stacklevel=3
        )
    if not images:
        raise ValueError(f"{folder} holds no image.")
    return images


def _stack(images: list[tuple[Path, np.ndarray]]) -> Float[Array, "image channel height width"]:
    common, _ = Counter(pixels.shape for _, pixels in images).most_common(1)[0]
    odd = [f"{path} {pixels.shape}" for path, pixels in images if pixels.shape != common]
    if odd:
        raise ValueError(
            f"The images must have the same shape, got {common} for most, but {', '.join(odd)}. "
            "Crop or resize them, or load them one by one."
        )
    return jnp.asarray(np.stack([pixels for _, pixels in images]))
