from collections.abc import Sequence
from typing import Any, Literal, TYPE_CHECKING

import numpy as np

from .._rules import checked, INDEX
from ._panels import as_numbers
from ._stem import clean_up_axes


if TYPE_CHECKING:
    import matplotlib.axes


@checked(batch_idx=INDEX, channel_idx=INDEX)
def histogram(
    data: Any,
    labels: str | Sequence[str] | None = None,
    batch_idx: int | None = 0,
    channel_idx: int | None = None,
    ylim: Sequence[float | int] | Literal[False] = False,
    xlim: Sequence[float | int] | Literal[False, "range"] = "range",
    xlabel: str | Literal[False] = "Values",
    ax: "matplotlib.axes.Axes | None" = None,
    title: str | None = "Histogram of tensor values",
    alpha: float = 0.4,
    **kwargs: Any,
) -> "matplotlib.axes.Axes":
    """Plot histograms of the values of one or more arrays, such as the pixels of images.

    All histograms have the same bins. Values that are not finite are left out.

    Args:
        data: An array, or a list of arrays of any sizes.
        labels: The name in the legend, or a list with one for each array. None makes no legend.
        batch_idx: The element of a batch, if an array has the shape (batch, channel, height,
            width). None takes all elements.
        channel_idx: The channel of arrays (channel, height, width). None takes all channels.
        ylim: The limits of the vertical axis; False does not change them.
        xlim: The limits of the horizontal axis; ``"range"`` is from the smallest to the largest
            value, False does not change them.
        xlabel: The label of the horizontal axis; False sets none.
        ax: The axes to draw in, by default the current ones.
        title: The title; None keeps the present one.
        alpha: The opacity of the bars.
        **kwargs: ``bins`` (by default 50) and ``density`` (by default False) of
            ``numpy.histogram``, and further arguments of ``matplotlib.axes.Axes.stairs``.

    Returns:
        The axes.

    Raises:
        TypeError: If the data are not numbers.
        ValueError: If the numbers of labels and arrays differ, or if the batch element, the
            channel, or any finite real value is missing.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> import numpy as np
        >>> axes = histogram([np.eye(8), np.ones((8, 8))], labels=["lines", "white"], bins=2)
        >>> [patch.get_data().values.tolist() for patch in axes.patches]
        [[56.0, 8.0], [0.0, 64.0]]
        >>> plt.close(axes.figure)
    """
    import matplotlib.pyplot as plt

    arrays = list(data) if isinstance(data, list | tuple) else [data]
    names = [labels] * len(arrays) if labels is None or isinstance(labels, str) else list(labels)
    if len(names) != len(arrays) or (isinstance(labels, str) and len(arrays) > 1):
        raise ValueError(
            f"labels must be a list with one name for each of the {len(arrays)} arrays, or None, "
            f"got {labels!r}."
        )
    values = [finite_values(_choose(one, batch_idx, channel_idx)) for one in arrays]
    density = bool(kwargs.pop("density", False))
    edges = np.histogram_bin_edges(np.concatenate(values), kwargs.pop("bins", 50))
    ax = plt.gca() if ax is None else ax
    for one, name in zip(values, names, strict=True):
        counts = np.histogram(one, edges, density=density)[0].astype(float)
        ax.stairs(counts, edges, **({"fill": True, "alpha": alpha, "label": name} | kwargs))
    if labels is not None:
        ax.legend(frameon=False)
    if xlim == "range":
        ax.set_xlim(edges[0], edges[-1])
    elif xlim is not False:
        ax.set_xlim(*xlim)
    if ylim is not False:
        ax.set_ylim(*ylim)
    if xlabel is not False:
        ax.set_xlabel(xlabel)
    ax.set_ylabel("Density" if density else "Count")
    if title is not None:
        ax.set_title(title)
    clean_up_axes(ax, ("top", "right"))
    return ax


def finite_values(array: np.ndarray) -> np.ndarray:
    """Return the finite values of an array, as a vector in float64.

    Raises:
        ValueError: If no value is finite, or if they are complex.
    """
    values = array[np.isfinite(array)].ravel()
    if values.size == 0 or np.iscomplexobj(values):
        raise ValueError(
            "An array must hold finite real numbers to count, got none in an array of shape "
            f"{array.shape} and type {array.dtype}. Give the parts of complex numbers."
        )
    return values.astype(np.float64)


def _choose(data: Any, batch_idx: int | None, channel_idx: int | None) -> np.ndarray:
    array = as_numbers(data)
    if array.ndim == 4 and batch_idx is not None:
        array = _take(array, 0, batch_idx, "batch_idx")
    if array.ndim in (3, 4) and channel_idx is not None:
        array = _take(array, array.ndim - 3, channel_idx, "channel_idx")
    return array


def _take(array: np.ndarray, axis: int, index: int, name: str) -> np.ndarray:
    size = array.shape[axis]
    if not -size <= index < size:
        raise ValueError(f"{name} must be between {-size} and {size - 1}, got {index}.")
    return array.take(index, axis)
