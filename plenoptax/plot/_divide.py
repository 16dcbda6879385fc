import math
from collections.abc import Sequence
from typing import Any, TYPE_CHECKING

import numpy as np

from ._layout import root_figure, TITLE_HEIGHT


if TYPE_CHECKING:
    import matplotlib.axes

# Inches.
_GAP_LEFT = 0.55


def grid_shape(count: int) -> tuple[int, int]:
    """Return the rows and columns of a grid: one row for up to 4 axes, else about square."""
    columns = count if count <= 4 else math.ceil(math.sqrt(count))
    return -(-count // columns), columns


def axes_of_new_figure(figsize: tuple[float | int, float | int]) -> "matplotlib.axes.Axes":
    """Create a figure with one axes, with room for a title and tick labels.

    Args:
        figsize: The width and height of the figure in inches.
    """
    import matplotlib.pyplot as plt

    width, height = figsize
    figure = plt.figure(figsize=figsize)
    return figure.add_axes((0.7 / width, 0.4 / height, 1 - 1 / width, 1 - 1 / height))


def divide(
    ax: "matplotlib.axes.Axes",
    rows: int,
    columns: int,
    places: int | Sequence[tuple[int, int, int]],
    title: str,
    gap_above: float,
    options: dict[str, Any] | None = None,
    gap_left: float = _GAP_LEFT,
) -> "list[matplotlib.axes.Axes]":
    """Replace one axes by a grid of axes.

    Args:
        ax: The axes to replace; only its title stays.
        rows: The number of rows.
        columns: The number of columns.
        places: The number of places that get axes, row by row; or, for each axes, its row, and its
            first and last column.
        title: The title above the grid.
        gap_above: The room between the rows, in inches.
        options: Further arguments of ``matplotlib.gridspec.GridSpec``, such as ``hspace``.
        gap_left: The room between the columns, in inches.
    """
    from matplotlib.gridspec import GridSpec

    if isinstance(places, int):
        row_by_row = [divmod(index, columns) for index in range(places)]
        places = [(row, column, column) for row, column in row_by_row]
    figure = root_figure(ax)
    engine = figure.get_layout_engine()
    if engine is not None:
        engine.execute(figure)
    ax.set_axis_off()
    ax.set_title(title, fontsize=11, pad=4, y=TITLE_HEIGHT)
    place = ax.get_position()
    inches_wide, inches_high = np.asarray(place.size) * figure.bbox_inches.size
    room_for_title = min(0.5 / inches_high, 0.3) if title else 0.0
    wide = _share_of_gaps(gap_left, columns, inches_wide)
    high = _share_of_gaps(gap_above, rows, inches_high * (1 - room_for_title))
    bounds: dict[str, Any] = {
        "left": place.x0,
        "right": place.x1,
        "bottom": place.y0,
        "top": place.y1 - room_for_title * place.height,
        "wspace": wide,
        "hspace": high,
    }
    grid = GridSpec(rows, columns, **(bounds | (options or {})))
    bottoms, tops, lefts, rights = grid.get_grid_positions(figure)
    return [
        figure.add_axes((lefts[j], bottoms[i], rights[k] - lefts[j], tops[i] - bottoms[i]))
        for i, j, k in places
    ]


def _share_of_gaps(gap: float, number: int, length: float) -> float:
    """Return the gap as a fraction of the mean width of the axes, as GridSpec takes it.

    The gaps take at most 60% of the length.
    """
    gap = min(gap, 0.6 * length / max(number - 1, 1))
    return gap * number / (length - gap * (number - 1))
