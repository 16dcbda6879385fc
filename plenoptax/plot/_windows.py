from collections.abc import Sequence
from typing import Any, TYPE_CHECKING

import numpy as np

from .._rules import checked, POSITIVE, Real, Whole
from ..models import AbstractPoolingWindows
from ._imshow import imshow


if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.colors
    import matplotlib.figure
    import matplotlib.path


# The weights of so many pixels are computed at once.
_PIXELS = 2**22


@checked(level=Real(above=0, below=1), indices=Whole(0, several=True), linewidths=POSITIVE)
def windows(
    windows: AbstractPoolingWindows,
    image: Any = None,
    zoom: float | int | None = None,
    title: str | None = None,
    ax: "matplotlib.axes.Axes | None" = None,
    *,
    level: float = 0.5,
    indices: Sequence[int] | np.ndarray | None = None,
    colors: Any = "tab:orange",
    linewidths: float = 0.8,
    cmap: "str | matplotlib.colors.Colormap | None" = None,
    **kwargs: Any,
) -> "matplotlib.figure.Figure":
    """Draw the contours of windows over an image, where they have half of their maximum.

    A window that is nowhere below this level has no contour.

    Args:
        windows: The windows.
        image: The image, of the size of the windows, in [0, 1]: one channel, or three, which are
            shown as colors. By default a white page.
        zoom: The number of pixels for a sample; see `imshow`.
        title: The title. None also leaves out the lines about range and size.
        ax: The axes to draw in. The default makes a figure.
        level: The height of the contour, as a fraction of the maximum of the window.
        indices: Which windows to draw. By default all.
        colors: The color of the contours.
        linewidths: Their width in points.
        cmap: The color map of the image; see `imshow`.
        **kwargs: Further arguments of ``matplotlib.collections.PathCollection``.

    Returns:
        The figure.

    Raises:
        ValueError: If the image has another size than the windows, or there is no such window.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> import plenoptax as plx
        >>> pooling = plx.models.log_polar_windows((64, 64), 1.0, 8, 24)
        >>> figure = plx.plot.windows(pooling, plx.data.camera()[:, :64, :64], zoom=4)
        >>> plt.close(figure)
    """
    from matplotlib.collections import PathCollection

    shape = windows.image_shape
    shown = np.ones(shape) if image is None else np.asarray(image)
    if shown.shape[-2:] != shape:
        raise ValueError(
            f"The image must have {shape[0]} x {shape[1]} pixels as the windows, got the shape "
            f"{shown.shape}. Make windows with image.shape[-2:]."
        )
    chosen = np.arange(windows.num_windows) if indices is None else np.asarray(indices, int)
    if chosen.size and chosen.max() >= windows.num_windows:
        raise ValueError(
            f"indices must be at most {windows.num_windows - 1}, got {chosen.max()}. Choose "
            "among windows.num_windows."
        )
    in_color = shown.ndim == 3 and len(shown) in (3, 4)
    figure = imshow(shown, (0, 1), zoom, title, ax=ax, cmap=cmap, as_rgb=in_color)
    axes = figure.axes[-1] if ax is None else ax
    left, right, bottom, top = axes.images[-1].get_extent()
    x = left + (right - left) * (np.arange(shape[1]) + 0.5) / shape[1]
    y = top + (bottom - top) * (np.arange(shape[0]) + 0.5) / shape[0]
    outlines = _outline(windows, chosen, level, x, y)
    options = {"facecolors": "none", "edgecolors": colors, "linewidths": linewidths}
    axes.add_collection(PathCollection(outlines, **(options | kwargs)), autolim=False)
    return figure


def _outline(
    windows: AbstractPoolingWindows, chosen: np.ndarray, level: float, x: np.ndarray, y: np.ndarray
) -> "list[matplotlib.path.Path]":
    """Return the contours of windows, given the places of the columns and the rows."""
    from matplotlib.figure import Figure

    # Thousands of contours in the axes of the image would take minutes.
    scratch = Figure().add_subplot()
    count = max(1, _PIXELS // (len(x) * len(y)))
    outlines = []
    for start in range(0, len(chosen), count):
        for weights in np.asarray(windows.weigh_pixels(chosen[start : start + count])):
            height = level * weights.max()
            rows, columns = (_around(weights.max(axis) >= height) for axis in (1, 0))
            if weights[rows, columns].min() < height:
                found = scratch.contour(x[columns], y[rows], weights[rows, columns], [height])
                outlines += found.get_paths()
                found.remove()
    return outlines


def _around(is_inside: np.ndarray) -> slice:
    """Return the part of an axis that holds all true elements, with one more on each side."""
    inside = np.flatnonzero(is_inside)
    return slice(max(inside[0] - 1, 0), inside[-1] + 2)
