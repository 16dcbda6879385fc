import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple, TYPE_CHECKING

import jax
import numpy as np

from .. import models
from ._divide import axes_of_new_figure, divide, grid_shape
from ._imshow import draw_panel, range_line
from ._layout import font_size, place_size, zoom_in_axes
from ._panels import as_numbers, Panel, split_into_panels
from ._portilla_simoncelli import plot_portilla_simoncelli
from ._stem import stem_plot


if TYPE_CHECKING:
    import matplotlib.axes

MOST_AXES = 36

YLimits = Sequence[float | int] | Literal[False] | None


def plot_representation(
    model: Any = None,
    data: Any = None,
    ax: "matplotlib.axes.Axes | None" = None,
    figsize: tuple[float | int, float | int] | None = None,
    ylim: YLimits = False,
    batch_idx: int = 0,
    title: str | None = "",
    as_rgb: bool = False,
    axes_direction: Literal["horizontal", "vertical"] = "horizontal",
    gridspec_kwargs: dict[str, Any] | None = None,
) -> "list[matplotlib.axes.Axes]":
    """Show what a model makes of an image, or the difference of two such representations.

    If the model has a method ``plot_representation``, that draws. Otherwise it depends on the data:
    a vector, or a matrix (channel, value), is shown as stems, one axes for each channel; an array
    (channel, height, width), or one image of a batch (batch, channel, height, width), as pictures,
    with the same two-hued range, symmetric about zero, for all the channels; a dictionary or
    another tree of arrays as all its leaves. At most 36 axes are drawn; the title says so where
    there would be more.

    Args:
        model: The model, which may be None.
        data: The representation; None if the method of the model needs none.
        ax: The axes to draw in, which are divided if need be. The default makes a figure.
        figsize: The width and height of that figure in inches; the default depends on the number of
            axes.
        ylim: The limits of the vertical axes of the stems. None is symmetric about zero, False
            leaves them to matplotlib.
        batch_idx: The image of the batch.
        title: The title.
        as_rgb: Show three or four channels of pictures as colors.
        axes_direction: Whether several axes stand side by side or below each other; more than four
            are arranged in rows and columns.
        gridspec_kwargs: Further arguments of ``matplotlib.gridspec.GridSpec`` for several axes.

    Returns:
        The axes.

    Raises:
        TypeError: If a leaf of the data does not hold numbers.
        ValueError: If there is nothing to show, a leaf has more than four axes, or both ``ax`` and
            ``figsize`` are given.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> import numpy as np
        >>> data = {"means": np.array([0.2, 0.4]), "map": np.eye(16)[None]}
        >>> axes = plot_representation(data=data)
        >>> [one.get_title().splitlines()[0] for one in axes]
        ['means', 'map']
        >>> plt.close(axes[0].figure)
    """
    if ax is not None and figsize is not None:
        raise ValueError("figsize is for a new figure, but ax was given; leave out one of the two.")
    if axes_direction not in ("horizontal", "vertical"):
        raise ValueError(
            f"axes_direction was {axes_direction!r}; it must be 'horizontal' or 'vertical'."
        )
    if _is_portilla_simoncelli(model) and data is not None:
        return plot_portilla_simoncelli(model, data, ax, figsize, ylim, batch_idx, title)[1]
    method = getattr(model, "plot_representation", None)
    if method is not None:
        ax = axes_of_new_figure(figsize or (12, 8)) if ax is None else ax
        return _axes_of(method(data, ax=ax, ylim=ylim, batch_idx=batch_idx, title=title))
    if data is None:
        raise ValueError(
            "data was None, and there is no model with a method plot_representation; give a "
            "representation, such as model(image)."
        )
    parts = list(_parts(data, batch_idx, as_rgb))
    if not parts:
        raise ValueError("there was nothing to show; the data held no arrays.")
    shown = parts[:MOST_AXES]
    if len(parts) > len(shown):
        title = f"{title or ''} (the first {len(shown)} of {len(parts)})".strip()
    rows, columns = grid_shape(len(shown))
    if axes_direction == "vertical":
        rows, columns = columns, rows
    if ax is None:
        figsize = figsize or (max(3 * columns, 4) + 1, max(2.6 * rows, 3) + 1)
        ax = axes_of_new_figure(figsize)
    if len(shown) == 1:
        axes = [ax]
        shown = [shown[0]._replace(title="\n".join(filter(None, (title, shown[0].title))))]
    else:
        axes = divide(ax, rows, columns, len(shown), title or "", 0.6, gridspec_kwargs)
    for one, part in zip(axes, shown, strict=True):
        _draw(one, part, ylim)
    return axes


def needs_one_axes(model: Any, data: Any) -> bool:
    """Whether a representation is a single vector or picture, which the model does not draw."""
    if _is_portilla_simoncelli(model) or hasattr(model, "plot_representation"):
        return False
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(data)]
    return len(shapes) == 1 and math.prod(shapes[0][: -2 if len(shapes[0]) > 2 else -1]) == 1


class _Part(NamedTuple):
    """What is drawn in one axes.

    Attributes:
        title: What tells it from the others.
        content: The values.
        largest: The largest absolute value of the leaf that it is of.
        is_first: Whether it is the first of that leaf.
    """

    title: str
    content: np.ndarray | Panel
    largest: float
    is_first: bool


def _parts(data: Any, batch_idx: int, as_rgb: bool) -> Iterator[_Part]:
    for name, leaf in leaves(data):
        array = as_numbers(leaf)
        if array.ndim > 4 or array.size == 0:
            raise ValueError(
                f"the representation {name!r} had the shape {array.shape}; it must be a vector, "
                "(channel, value), (channel, height, width) or (batch, channel, height, width), "
                "and not be empty."
            )
        if array.ndim < 3:
            if np.iscomplexobj(array):
                array = np.concatenate([np.real(array), np.imag(array)], -1)
            rows = array.reshape(-1, array.shape[-1] if array.ndim else 1)
            contents = [(row, "") for row in rows]
        else:
            as_colors = as_rgb and array.shape[-3] in (3, 4)
            chosen = batch_idx if array.ndim == 4 else None
            panels = split_into_panels(array, "rectangular", chosen, None, as_colors)
            contents = [(panel, panel.label) for panel in panels]
        largest = float(np.abs(array[np.isfinite(array)]).max(initial=0))
        for index, (content, label) in enumerate(contents):
            number = "" if len(contents) == 1 else f"[{index}]" if name else f"channel {index}"
            yield _Part(f"{name}{number} {label}".strip(), content, largest, index == 0)


def leaves(data: Any) -> Iterator[tuple[str, Any]]:
    """The leaves with their names; a dictionary in its own order, which JAX would sort."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            for name, leaf in leaves(value):
                yield f"{key}/{name}" if name else str(key), leaf
        return
    for path, leaf in jax.tree_util.tree_leaves_with_path(data):
        yield jax.tree_util.keystr(path, simple=True, separator="/"), leaf


def _draw(ax: "matplotlib.axes.Axes", part: _Part, ylim: YLimits) -> None:
    width = place_size(ax)[0]
    if isinstance(part.content, Panel):
        panel = part.content
        limits = (0.0, 1.0) if panel.kind == "color" else (-part.largest, part.largest)
        if not limits[1] > 0:
            limits = (-0.5, 0.5)
        zoom = zoom_in_axes(ax, panel.pixels.shape[:2], None)
        draw_panel(ax, panel, limits, zoom, "RdBu_r", {})
        facts = range_line(limits) if part.is_first else ""
        title = "\n".join(filter(None, (part.title, facts)))
    else:
        if ylim is None:
            height = 1.05 * part.largest or 1.0
            ylim = (-height, height)
        stem_plot(part.content, ax, None, ylim)
        title = part.title
    ax.set_title(title, fontsize=font_size([title], width, ax.figure.dpi), pad=4)


def _axes_of(drawn: Any) -> "list[matplotlib.axes.Axes]":
    """The axes in what the method of a model returned: axes, or a figure and axes."""
    if isinstance(drawn, tuple) and len(drawn) == 2 and not hasattr(drawn[0], "transAxes"):
        drawn = drawn[1]
    return list(np.atleast_1d(np.asarray(drawn, dtype=object)).ravel())


def _is_portilla_simoncelli(model: Any) -> bool:
    return isinstance(model, models.PortillaSimoncelli)
