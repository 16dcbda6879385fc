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
# The types of MATLAB's files of version 5.
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
    """Show the MAD competitions of MSE and SSIM that Wang and Simoncelli made.

    Below the original image, there is a row for each level of noise: the noisy image, and those
    with the best and worst value of one metric where the other was held (Wang and Simoncelli,
    "Maximum differentiation (MAD) competition", Journal of Vision 2008).

    Args:
        original_image: ``"samp1"`` to ``"samp10"``.
        noise_levels: Powers of 2 from 2 to 1024, by default all of them.
        results_dir: The folder with the results; by default it is downloaded.
        ssim_images_dir: The folder with the original images; by default it is downloaded.
        zoom: See `imshow`.
        vrange: See `imshow`; or ``"row0"`` to ``"row3"``, which give each row its own limits, as
            ``"auto0"`` to ``"auto3"`` do for all images.
        **kwargs: Further arguments of ``matplotlib.axes.Axes.imshow``.

    Returns:
        The figure; and for each level, as ``"L128"``, a dictionary of the metrics in the file.

    Raises:
        ValueError: If there is no such image or level, or a file is not one of MATLAB version 5.

    Example:
        >>> import plenoptax as plx
        >>> plx.plot.plot_MAD_results("samp11")
        Traceback (most recent call last):
        ValueError: original_image was 'samp11'; it must be one of samp1, samp2, ..., samp10.
    """
    if original_image not in [f"samp{number}" for number in range(1, 11)]:
        raise ValueError(
            f"original_image was {original_image!r}; it must be one of samp1, samp2, ..., samp10."
        )
    levels = [2**power for power in range(1, 11)] if noise_levels is None else list(noise_levels)
    if not levels or not set(levels) <= {2**power for power in range(1, 11)}:
        raise ValueError(
            f"noise_levels was {noise_levels!r}; they must be powers of 2 from 2 to 1024."
        )
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
    """The arrays of real numbers in a file of MATLAB, version 5; those of one value as numbers.

    Raises:
        ValueError: If it is no such file.
    """
    if data[126:128] != b"IM":
        raise ValueError("the file is not one of MATLAB version 5 with little-endian numbers.")
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
    """The types and contents of the elements that stand one after the other."""
    place = 0
    while place + 8 <= len(data):
        kind, size = struct.unpack_from("<II", data, place)
        if kind >> 16:
            # Up to four bytes stand within the tag.
            yield kind & 0xFFFF, data[place + 4 : place + 4 + (kind >> 16)]
            place += 8
            continue
        yield kind, data[place + 8 : place + 8 + size]
        place += 8 + size if kind == _COMPRESSED else 8 + -(-size // 8) * 8
