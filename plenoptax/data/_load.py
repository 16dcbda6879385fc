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
    """Reads image files, scaled to [0, 1], by what they say of themselves.

    Reads PNG, TIFF and Netpbm (PBM, PGM, PPM, PAM, PFM) at their full depth, and JPEG, GIF, BMP,
    WebP, AVIF, JPEG 2000, Photoshop, QOI, ICO, SGI, PCX and TGA of 8 bits.

    Integers are divided by the largest value that the file allows: 255 for 8 bits, 65535 for 16,
    32767 for 16 with a sign, the stated maximum of Netpbm. So a stimulus written by ``save_image``
    comes back as it was. Floating-point files are taken as they are and have to lie in [0, 1].
    Where a TIFF says that 0 is white, it is. Palettes are expanded, transparency is composited on
    white, and a stored orientation (TIFF, EXIF) is applied.

    **Scale.** By default the values stay coded as in the file. In most files that is sRGB, and gray
    is then luma, a weighted sum of coded values and not of light. With ``linear=True`` the values
    are proportional to light, and gray is luminance: the coding is that of an ICC profile, of the
    chunks cICP, sRGB, or gAMA and cHRM of PNG, and sRGB where the file says nothing. An ICC profile
    or cICP that is not sRGB is converted to sRGB also by default, at full depth; colors that sRGB
    lacks are clipped, with a warning. Profiles made of tables are refused by name.

    Args:
        paths: A file, a list of files, or a folder. Of a folder, every image directly in it is
            read. Files that are not images are skipped with a warning; an image that cannot be
            read raises an error.
        as_gray: Whether color becomes gray, with the weights 0.2125, 0.7154 and 0.0721 of red,
            green and blue. If False, every file gives three channels: those of gray files are
            equal.
        sorted_key: How to sort the files of a folder, a function of the ``pathlib.Path`` as the
            ``key`` of ``sorted``. None sorts by name. Only for a folder.
        linear: Whether to give linear light. False, as in plenoptic, leaves the values as they are
            coded.
        orientation: ``"apply"`` turns the image as the file says, ``"ignore"`` leaves the rows and
            columns as they are stored.
        max_pixels: The most pixels that an image may have. Larger ones are refused before they
            are decoded. The default is 8192 by 8192, which take about 2.5 GB in color.

    Returns:
        Shape ``(channel, height, width)`` for a file, ``(image, channel, height, width)`` for a
        list or a folder. float32, or float64 where 64-bit types are enabled.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If a file is no image, is damaged, holds several frames, has more than
            ``max_pixels`` pixels or more than its reader takes; if there is no reader for its
            format, its compression or its colors (such as CMYK); if ``linear`` is asked of
            floating-point numbers that do not say what they are; if the images differ in size; if
            there are none; or if an argument is out of range.

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
        raise ValueError(f"orientation is 'apply' or 'ignore'; got {orientation!r}.")
    read = partial(
        read_image, as_gray=as_gray, linear=linear, orientation=orientation, max_pixels=max_pixels
    )
    if isinstance(paths, str | PathLike) and Path(paths).is_dir():
        return _stack(_read_folder(Path(paths), read, sorted_key))
    if sorted_key is not None:
        raise ValueError(
            f"sorted_key orders the files of a folder, but paths is {paths!r}: sort them yourself"
        )
    if isinstance(paths, str | PathLike):
        return jnp.asarray(read(Path(paths)))
    files = [Path(path) for path in paths]
    if not files:
        raise ValueError("paths is an empty list: give at least one image file")
    return _stack([(file, read(file)) for file in files])


def to_numpy(x: Any, squeeze: bool = False) -> np.ndarray:
    """Gives a JAX array as a NumPy array on the host.

    Args:
        x: A JAX or NumPy array, or anything else that ``numpy.asarray`` takes.
        squeeze: Whether to drop the axes of length 1.

    Returns:
        A NumPy array of the same dtype; that of a JAX array is read-only (copy it to write in it).

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
        warnings.warn(f"skipped, not images: {', '.join(skipped)} (in {folder})", stacklevel=3)
    if not images:
        raise ValueError(f"{folder} holds no image")
    return images


def _stack(images: list[tuple[Path, np.ndarray]]) -> Float[Array, "image channel height width"]:
    common, _ = Counter(pixels.shape for _, pixels in images).most_common(1)[0]
    odd = [f"{path} {pixels.shape}" for path, pixels in images if pixels.shape != common]
    if odd:
        raise ValueError(
            f"the images must have one shape, and most have {common}, but not {', '.join(odd)}: "
            "crop or resize them, or load them one by one"
        )
    return jnp.asarray(np.stack([pixels for _, pixels in images]))
