import os
import pathlib
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, TYPE_CHECKING

import numpy as np

from .._rules import checked, SIZES
from ..data import fetch_data
from ._imshow import draw_panels, Look, panel_limits
from ._layout import root_figure
from ._panels import split_into_panels


if TYPE_CHECKING:
    import matplotlib.figure

_IMAGES = (
    "im_init",
    "im_fixmse_maxssim",
    "im_fixmse_minssim",
    "im_fixssim_minmse",
    "im_fixssim_maxmse",
)
_TITLES = (
    "Noise level: {noise_level}",
    "Best SSIM: {maxssim:.5f}\nat MSE {FIX_MSE:.0f}",
    "Worst SSIM: {minssim:.5f}\nat MSE {FIX_MSE:.0f}",
    "Best MSE: {minmse:.5f}\nat SSIM {FIX_SSIM:.5f}",
    "Worst MSE: {maxmse:.5f}\nat SSIM {FIX_SSIM:.5f}",
)
# The types of numbers in files of MATLAB version 5.
_TYPES = {
    1: "i1",
    2: "u1",
    3: "i2",
    4: "u2",
    5: "i4",
    6: "u4",
    7: "f4",
    9: "f8",
    12: "i8",
    13: "u8",
}
_MATRIX, _COMPRESSED = 14, 15


@checked(noise_levels=SIZES)
def plot_MAD_results(
    original_image: str,
    noise_levels: Sequence[int] | None = None,
    results_dir: str | os.PathLike | None = None,
    ssim_images_dir: str | os.PathLike | None = None,
    zoom: float | int = 3,
    vrange: str | Sequence[float | int] = "indep1",
    **kwargs: Any,
) -> "tuple[matplotlib.figure.Figure, dict[str, dict[str, Any]]]":
    """Show the published MAD competitions of MSE and SSIM of Wang and Simoncelli.

    Below the original image is a row for each noise level: the noisy image, and the images with the
    best and the worst value of one metric while the other is held fixed (Wang and Simoncelli,
    "Maximum differentiation (MAD) competition", Journal of Vision 2008).

    Args:
        original_image: The name of the original image, ``"samp1"`` to ``"samp10"``.
        noise_levels: The noise levels, powers of 2 from 2 to 1024, by default all of them.
        results_dir: The folder with the results; by default it is downloaded.
        ssim_images_dir: The folder with the original images; by default it is downloaded.
        zoom: The number of pixels for a sample; see `imshow`.
        vrange: The limits of the color map, or a mode; see `imshow`. The modes ``"row0"`` to
            ``"row3"`` are like ``"auto0"`` to ``"auto3"``, but within each row.
        **kwargs: Further arguments of ``matplotlib.axes.Axes.imshow``.

    Returns:
        The figure; and, under names such as ``"L128"``, the metrics in the file of each level.

    Raises:
        ValueError: If the image or level does not exist, or a file is not of MATLAB version 5.

    Example:
        >>> import plenoptax as plx
        >>> plx.plot.plot_MAD_results("samp11")
        Traceback (most recent call last):
        ValueError: original_image must be one of samp1, samp2, ..., samp10, got 'samp11'.
    """
    if original_image not in [f"samp{number}" for number in range(1, 11)]:
        raise ValueError(
            f"original_image must be one of samp1, samp2, ..., samp10, got {original_image!r}."
        )
    levels = [2**power for power in range(1, 11)] if noise_levels is None else list(noise_levels)
    if not levels or not set(levels) <= {2**power for power in range(1, 11)}:
        raise ValueError(f"noise_levels must be powers of 2 from 2 to 1024, got {noise_levels!r}.")
    results, rows, titles = {}, [[_original(original_image, ssim_images_dir)]], ["Original image"]
    folder = pathlib.Path(results_dir or fetch_data("MAD_results.tar.gz")).expanduser()
    for level in levels:
        content = read_mat((folder / f"{original_image}_L{level}_results.mat").read_bytes())
        content |= {"noise_level": level, "original_image": original_image}
        rows.append([content.pop(name) for name in _IMAGES])
        titles += [title.format(**content) for title in _TITLES]
        results[f"L{level}"] = content
    panels = [split_into_panels(row, "rectangular", None, None, False) for row in rows]
    flat = [panel for row in panels for panel in row]
    if isinstance(vrange, str) and vrange.startswith("row"):
        vrange = vrange.replace("row", "auto")
        limits = [limit for row in panels for limit in panel_limits(row, vrange)]
    else:
        limits = panel_limits(flat, vrange)
    look = Look(vrange, zoom, titles, len(_IMAGES), None, kwargs.pop("cmap", None), kwargs)
    cells = [0, *range(len(_IMAGES), len(_IMAGES) * len(rows))]
    return root_figure(draw_panels(flat, limits, look, cells)[0].image.axes), results


def _original(name: str, folder: str | os.PathLike | None) -> np.ndarray:
    import imageio.v3

    path = pathlib.Path(folder or fetch_data("ssim_images.tar.gz")).expanduser()
    return np.asarray(imageio.v3.imread(path / f"{name}.tif"))


def read_mat(data: bytes) -> dict[str, Any]:
    """Read the arrays of real numbers in a file of MATLAB version 5; single values become numbers.

    Raises:
        ValueError: If it is not such a file.
    """
    if data[126:128] != b"IM":
        raise ValueError(
            "A file of results must be of MATLAB version 5 with little-endian numbers, got another "
            "format."
        )
    content = {}
    for kind, element in _elements(data[128:]):
        if kind == _COMPRESSED:
            kind, element = next(_elements(zlib.decompress(element)))
        if kind != _MATRIX:
            continue
        _, (_, sizes), (_, name), (of_values, values), *_ = _elements(element)
        array = np.frombuffer(values, np.dtype(_TYPES[of_values]).newbyteorder("<"))
        array = array.reshape(np.frombuffer(sizes, "<i4"), order="F").squeeze()
        content[name.decode()] = array.item() if array.ndim == 0 else array
    return content


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the type and the content of each element, in order."""
    place = 0
    while place + 8 <= len(data):
        kind, size = struct.unpack_from("<II", data, place)
        if kind >> 16:
            # Contents of up to four bytes are inside the tag.
            yield kind & 0xFFFF, data[place + 4 : place + 4 + (kind >> 16)]
            place += 8
            continue
        yield kind, data[place + 8 : place + 8 + size]
        place += 8 + size if kind == _COMPRESSED else 8 + -(-size // 8) * 8
