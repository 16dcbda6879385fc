from collections.abc import Sequence
from typing import Any, Literal, TYPE_CHECKING

import numpy as np

from ._panels import as_numbers


if TYPE_CHECKING:
    import matplotlib.axes


def stem_plot(
    data: Any,
    ax: "matplotlib.axes.Axes | None" = None,
    title: str | None = "",
    ylim: Sequence[float | int] | Literal[False] | None = None,
    xvals: tuple[Any, Any] | None = None,
    **kwargs: Any,
) -> "matplotlib.axes.Axes":
    """Plot a vector as stems that rise from a baseline.

    The more stems there are, the thinner they are. More than 150 stems have no heads.

    Args:
        data: The vector; axes of size 1 are ignored. NaN leaves a gap.
        ax: The axes to draw in, by default the current ones.
        title: The title; None keeps the present one.
        ylim: The limits of the vertical axis. None puts the lower limit at 0 if no value is
            negative, False leaves them to matplotlib.
        xvals: The positions where the pieces of the baseline start, and where they stop. By default
            the baseline is one piece.
        **kwargs: Further arguments of ``matplotlib.axes.Axes.stem``.

    Returns:
        The axes.

    Raises:
        TypeError: If the data are not numbers.
        ValueError: If the data are not a vector of real numbers.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> axes = stem_plot([0.5, 2.0, 1.0], title="three statistics")
        >>> float(axes.get_ylim()[0])
        0.0
        >>> plt.close(axes.figure)
    """
    import matplotlib.pyplot as plt

    array = as_numbers(data)
    values = array.reshape(-1)
    if values.size == 0 or values.size != max(array.shape, default=1) or np.iscomplexobj(values):
        raise ValueError(
            f"data must be one vector of real numbers, got the shape {array.shape} and the type "
            f"{array.dtype}. Choose one vector, or use plot_representation."
        )
    ax = plt.gca() if ax is None else ax
    count = values.size
    dots = "o" if count <= 150 else " "
    options: dict[str, Any] = {"linefmt": "C0-", "markerfmt": f"C0{dots}", "basefmt": " "}
    stems = ax.stem(values, **(options | kwargs))
    stems.stemlines.set_linewidth(float(np.clip(30 / count, 0.6, 1.2)))
    stems.markerline.set_markersize(float(np.clip(60 / count, 2, 4)))
    starts, stops = ([0], [count - 1]) if xvals is None else xvals
    ax.hlines(np.zeros(np.shape(starts)), starts, stops, color="0.5", linewidth=0.8, zorder=1)
    clean_up_axes(ax, ("top", "right", "bottom"), ("x",))
    ax.tick_params(labelsize=8)
    if title is not None:
        ax.set_title(title)
    _limit(ax, values, ylim)
    return ax


def clean_up_axes(
    ax: "matplotlib.axes.Axes",
    spines_to_remove: Sequence[str],
    axes_to_remove: Sequence[Literal["x", "y"]] = (),
) -> None:
    """Remove sides of the frame, and axes with their ticks and labels."""
    for side in spines_to_remove:
        ax.spines[side].set_visible(False)
    for name in axes_to_remove:
        getattr(ax, f"{name}axis").set_visible(False)


def _limit(
    ax: "matplotlib.axes.Axes",
    values: np.ndarray,
    ylim: Sequence[float | int] | Literal[False] | None,
) -> None:
    if ylim is None:
        if not (values < 0).any():
            ax.set_ylim(bottom=0)
    elif ylim is not False:
        ax.set_ylim(*ylim)
