import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class _NotAnImage(ValueError):
    """No reader recognizes the file, as distinct from an image that is damaged."""


def load_images(
    paths: str | PathLike | Sequence[str | PathLike],
    as_gray: bool = True,
    sorted_key: Callable[[Path], Any] | None = None,
) -> Float[Array, "*image channel height width"]:
    """Reads image files, scaled to [0, 1].

    Integers are divided by the largest value of their type (255 for 8 bits, 65535 for 16), so that
    a stimulus written by ``save_image`` comes back as it was. Floating-point files are taken as
    they are and have to lie in [0, 1]. Transparency is composited on white, palettes are expanded,
    and an orientation stored in EXIF is not applied. Of a 16-bit color PNG only the upper 8 bits
    are read; 16-bit color TIFF is read in full, and needs ``tifffile``.

    Args:
        paths: A file, a list of files, or a folder. Of a folder, every image directly in it is
            read; what is not an image is skipped with a warning.
        as_gray: Whether color becomes gray, with the weights 0.2125, 0.7154 and 0.0721 of red,
            green and blue. If False, every file gives three channels: those of gray files are
            equal.
        sorted_key: How to sort the files of a folder, a function of the ``pathlib.Path`` as the
            ``key`` of ``sorted``. None sorts by name. Only for a folder.

    Returns:
        Shape ``(channel, height, width)`` for a file, ``(image, channel, height, width)`` for a
        list or a folder. float32, or float64 where 64-bit types are enabled.

    Raises:
        FileNotFoundError: If a file does not exist.
        ValueError: If a file is no image, is damaged or holds several frames; if the images differ
            in size; if there are none; or if ``sorted_key`` is given without a folder.

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
    if isinstance(paths, str | PathLike) and Path(paths).is_dir():
        return _stack(_read_folder(Path(paths), as_gray, sorted_key))
    if sorted_key is not None:
        raise ValueError(
            f"sorted_key orders the files of a folder, but paths is {paths!r}: sort them yourself"
        )
    if isinstance(paths, str | PathLike):
        return jnp.asarray(_read(Path(paths), as_gray))
    if not paths:
        raise ValueError("paths is an empty list: give at least one image file")
    return _stack([(Path(path), _read(Path(path), as_gray)) for path in paths])


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
    folder: Path, as_gray: bool, sorted_key: Callable[[Path], Any] | None
) -> list[tuple[Path, np.ndarray]]:
    images, skipped = [], []
    for path in sorted(folder.iterdir(), key=sorted_key):
        if path.is_dir():
            skipped.append(path.name)
            continue
        try:
            images.append((path, _read(path, as_gray)))
        except _NotAnImage:
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


def _read(path: Path, as_gray: bool) -> np.ndarray:
    """One file as float64 in [0, 1], of shape ``(channel, height, width)``."""
    pixels = _decode(path)
    if pixels.ndim == 2:
        pixels = pixels[..., None]
    if pixels.ndim != 3 or pixels.shape[-1] > 4:
        raise ValueError(f"{path} is not one image: its pixels have shape {pixels.shape}")
    if np.issubdtype(pixels.dtype, np.integer):
        pixels = pixels / np.iinfo(pixels.dtype).max
    pixels = pixels.astype(np.float64)
    if not (pixels.min() >= 0 and pixels.max() <= 1):
        raise ValueError(
            f"{path} has values from {pixels.min():.4g} to {pixels.max():.4g}; a floating-point "
            "image has to lie in [0, 1], and an integer one must not be negative"
        )
    return np.moveaxis(_convert_channels(pixels, as_gray), -1, 0)


def _convert_channels(pixels: np.ndarray, as_gray: bool) -> np.ndarray:
    """Gray, gray and alpha, color, or color and alpha, to one or three channels, the last axis."""
    if pixels.shape[-1] in (2, 4):
        pixels, alpha = pixels[..., :-1], pixels[..., -1:]
        pixels = 1 - alpha * (1 - pixels)
    if as_gray and pixels.shape[-1] == 3:
        return pixels @ np.array([[0.2125], [0.7154], [0.0721]])
    if not as_gray and pixels.shape[-1] == 1:
        return np.repeat(pixels, 3, axis=-1)
    return pixels


def _decode(path: Path) -> np.ndarray:
    import imageio.v3 as iio

    with open(path, "rb") as stream:
        try:
            file: Any = iio.imopen(stream, "r", plugin="pillow")
        except Exception as error:
            raise _NotAnImage(f"{path} cannot be read: it is not an image") from error
        # Decoders raise anything on damaged data: OSError, SyntaxError, struct.error, zlib.error.
        try:
            with file:
                num_frames = file.properties(index=...).n_images
                metadata = file.metadata(index=0)
                if num_frames > 1:
                    raise ValueError(f"it holds {num_frames} frames, where one is wanted")
                # Of 16-bit color TIFF Pillow drops the lower 8 bits.
                if (
                    metadata["mode"] in ("RGB", "RGBA")
                    and np.max(metadata.get("BitsPerSample", 8)) > 8
                ):
                    return iio.imread(path, plugin="tifffile")
                return _decode_pillow(file, metadata)
        except Exception as error:
            reason = (str(error) or type(error).__name__).splitlines()[0]
            raise ValueError(f"{path} cannot be read: {reason}") from error


def _decode_pillow(file: Any, metadata: dict[str, Any]) -> np.ndarray:
    mode = metadata["mode"]
    if "transparency" in metadata or mode in ("P", "PA"):
        return file.read(index=0, mode="RGBA")
    if mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        return file.read(index=0, mode="RGB")
    pixels = file.read(index=0)
    # Pillow scales 16-bit PGM to 0..65535 and gives it as 32-bit integers; TIFF has true ones.
    is_scaled = mode == "I" and "BitsPerSample" not in metadata
    return pixels.astype(np.uint16) if is_scaled else pixels
