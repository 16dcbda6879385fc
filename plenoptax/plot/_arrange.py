from collections.abc import Iterable
from typing import Any, TYPE_CHECKING

import numpy as np

from ._drawn import is_competition, is_signal
from ._layout import whole_zoom
from ._panels import size_of_strip
from ._representation import arrangement
from ._view import View


if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

# Inches.
_LARGEST_IMAGE, _LARGEST_STRIP, _SMALLEST_IMAGE = 5.2, 8.0, 2.4
_CURVE_WIDTH, _ERROR_WIDTH, _LAYERS = 3.6, 7.0, (5.2, 8.0)
_LEAST_HEIGHT = 4.2
_RIGHT, _BOTTOM, _TOP, _GAP = 0.2, 0.8, 0.75, 1.3


def check_names(allowed: list[str], plots: Iterable[str], *others: Iterable[str]) -> None:
    """Reject unknown names of plots; the others may also be named ``"misc"``."""
    for names in (plots, *others):
        for name in names:
            if name not in allowed and (name != "misc" or names is plots):
                raise ValueError(
                    f"The name of a plot must be one of {', '.join(allowed)} for this result, got "
                    f"{name!r}."
                )


def new_figure(
    plots: tuple[str, ...],
    one: View,
    figsize: tuple[float | int, float | int] | None,
    width_ratios: dict[str, float | int],
) -> "matplotlib.figure.Figure":
    """Create a figure with axes side by side for the plots, each as wide as its plot needs."""
    import matplotlib.pyplot as plt

    sizes = {name: _size(name, one) for name in plots}
    ratios = [width_ratios.get(name, 1) * sizes[name][1] for name in plots]
    has_frame = plots[0] != "synthesis_imshow" or _shows_signal(one)
    left = 0.8 if has_frame else 0.2
    width = sum(ratios) + _GAP * (len(plots) - 1) + left + _RIGHT
    height = max(_LEAST_HEIGHT, *(size[0] for size in sizes.values()))
    size = figsize or (width, height + _BOTTOM + _TOP)
    figure = plt.figure(figsize=size, layout="none")
    grid = figure.add_gridspec(
        1,
        len(plots),
        width_ratios=ratios,
        left=left / size[0],
        right=1 - _RIGHT / size[0],
        bottom=_BOTTOM / size[1],
        top=1 - _TOP / size[1],
        wspace=_GAP * len(plots) / (size[0] - left - _RIGHT - _GAP * (len(plots) - 1)),
    )
    for index in range(len(plots)):
        figure.add_subplot(grid[index])
    return figure


def _shows_signal(one: View) -> bool:
    return one.image is not None and is_signal(one.image)


def _size(name: str, one: View) -> tuple[float, float]:
    """Return the smallest height, and the width, of a plot in inches."""
    if name == "synthesis_imshow" and not _shows_signal(one):
        assert one.image is not None
        return _size_of_picture(one.image.shape)
    if name == "metamer_representation_error":
        sizes = {"one": (0.0, _LARGEST_IMAGE), "layers": _LAYERS}
        return sizes.get(arrangement(one.problem.model, one.problem.target), (0.0, _ERROR_WIDTH))
    is_wide = name == "synthesis_imshow" or (name == "synthesis_loss" and is_competition(one))
    return 0.0, _CURVE_WIDTH * (2 if is_wide else 1)


def _size_of_picture(shape: tuple[int, ...]) -> tuple[float, float]:
    """Return the height and width in inches that allow the largest good zoom."""
    import matplotlib.pyplot as plt

    dpi = plt.rcParams["figure.dpi"]
    samples = np.array(size_of_strip(shape) if len(shape) == 4 else shape[-2:])
    largest = _LARGEST_STRIP if len(shape) == 4 else _LARGEST_IMAGE
    zoom = float(whole_zoom(largest * dpi / samples.max()))
    # A hundredth more, so that the size is not too small after rounding.
    height, width = samples * zoom / dpi + 0.01
    return height, max(width, _SMALLEST_IMAGE)


def assign_axes(
    figure: "matplotlib.figure.Figure", plots: tuple[str, ...], axes_idx: dict[str, Any]
) -> "dict[str, matplotlib.axes.Axes]":
    """Return the axes of each plot: the requested ones, or else the first free ones."""
    taken = set()
    for index in axes_idx.values():
        taken |= {index} if isinstance(index, int) else set(index)
    free = (index for index in range(len(figure.axes)) if index not in taken)
    assigned = {name: axes_idx[name] if name in axes_idx else next(free, -1) for name in plots}
    for name, index in assigned.items():
        if not isinstance(index, int) or not 0 <= index < len(figure.axes):
            raise ValueError(
                f"The figure must have axes for each plot ({', '.join(plots)}), got "
                f"{len(figure.axes)} axes and axes_idx={axes_idx}, with none for {name}. Give a "
                "figure with more axes, or another index."
            )
    return {name: figure.axes[index] for name, index in assigned.items()}
