from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, Literal, NamedTuple, TYPE_CHECKING

import jax
import numpy as np

from .._answers import answer
from .._rules import checked, INDEX
from ._divide import axes_of_new_figure, divide, grid_shape
from ._imshow import draw_panel, range_line
from ._layout import font_size, place_size, TITLE_HEIGHT, whole_zoom, zoom_in_axes
from ._panels import as_numbers, Panel, split_into_panels
from ._stem import stem_plot


if TYPE_CHECKING:
    import matplotlib.axes

MOST_AXES = 36
# The limits of an axis in units of the largest value, with room for the heads of stems.
MARGIN = 1.15
# Inches.
_GAP_ABOVE_LAYER, _GAP_IN_LAYER = 0.5, 0.15

YLimits = Sequence[float | int] | Literal[False] | None


@checked(batch_idx=INDEX)
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
    """Show the representation of an image by a model, or the difference of two representations.

    If the model has a method ``plot_representation``, that method draws. Otherwise the data decide:
    a vector, or a matrix (channel, value), is shown as stems, one axes for each channel; an array
    (channel, height, width), or one image of a batch (batch, channel, height, width), as pictures,
    with the same two-hued range, symmetric about zero, for all channels; a dictionary or another
    tree of arrays as all its leaves. At most 36 axes are drawn; the title says if there are more.
    With more than four axes, and pictures of several channels among them, as for the layers of a
    network, each leaf starts a new row.

    Args:
        model: The model, which may be None.
        data: The representation; None if the method of the model needs none.
        ax: The axes to draw in, which are divided if necessary. The default makes a figure.
        figsize: The width and height of that figure in inches; the default depends on the number of
            axes.
        ylim: The limits of the vertical axes of the stems. None is symmetric about zero, False
            leaves them to matplotlib.
        batch_idx: The image of the batch.
        title: The title.
        as_rgb: Whether to show three or four channels of pictures as colors.
        axes_direction: Whether several axes stand side by side or below each other. More than four
            are arranged in rows and columns; with ``"vertical"``, leaves start no new rows.
        gridspec_kwargs: Further arguments of ``matplotlib.gridspec.GridSpec`` for several axes;
            with them, leaves start no new rows.

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
        raise ValueError(
            "Only one of ax= and figsize= must be given, got both. Leave out figsize=, which is "
            "for a new figure."
        )
    if axes_direction not in ("horizontal", "vertical"):
        raise ValueError(
            f"axes_direction must be 'horizontal' or 'vertical', got {axes_direction!r}."
        )
    method = answer(model, "plot_representation")
    if method is not None:
        ax = axes_of_new_figure(figsize or (12, 8.6)) if ax is None else ax
        return _axes_of(method(data, ax=ax, ylim=ylim, batch_idx=batch_idx, title=title))
    if data is None:
        raise ValueError(
            "data must be a representation unless the model has a method plot_representation, got "
            "None. Give a representation, such as model(image)."
        )
    parts = list(_parts(data, batch_idx, as_rgb))
    if not parts:
        raise ValueError("data must hold arrays to show, got none.")
    shown = parts[:MOST_AXES]
    if len(parts) > len(shown):
        title = f"{title or ''} (the first {len(shown)} of {len(parts)})".strip()
    rows, columns = grid_shape(len(shown))
    if axes_direction == "vertical":
        rows, columns = columns, rows
    in_layers = _are_layers(shown) and axes_direction == "horizontal" and not gridspec_kwargs
    if ax is None:
        figsize = figsize or (max(3 * columns, 4) + 1, max(2.6 * rows, 3) + 1)
        ax = axes_of_new_figure(figsize)
    if in_layers:
        return _draw_layers(ax, shown, ylim, title or "")
    titles = ["\n".join(filter(None, (part.title, part.facts))) for part in shown]
    if len(shown) == 1:
        axes, titles = [ax], ["\n".join(filter(None, (title, *titles)))]
    else:
        axes = divide(ax, rows, columns, len(shown), title or "", 0.6, gridspec_kwargs)
    points = font_size(titles, min(place_size(one)[0] for one in axes), axes[0].figure.dpi)
    for one, part, text in zip(axes, shown, titles, strict=True):
        _draw(one, part, ylim)
        # A common factor of tick labels is above the axes.
        height = None if one.axison else TITLE_HEIGHT
        one.set_title(text, fontsize=points, pad=4, y=height)
    return axes


def arrangement(model: Any, data: Any) -> Literal["one", "layers", "other"]:
    """Return whether a representation is one vector or picture, layers of maps, or other."""
    if answer(model, "plot_representation") is not None:
        return "other"
    parts = list(_parts(data, 0, False))
    return "one" if len(parts) == 1 else "layers" if _are_layers(parts) else "other"


class _Part(NamedTuple):
    """The part of a representation that is drawn in one axes.

    Attributes:
        content: The values.
        name: The name of its leaf.
        number: The text that distinguishes it from the other parts of its leaf.
        largest: The largest absolute value of its leaf.
        is_first: Whether it is the first part of its leaf.
        is_only: Whether it is the only part of its leaf.
    """

    content: np.ndarray | Panel
    name: str
    number: str
    largest: float
    is_first: bool
    is_only: bool

    @property
    def title(self) -> str:
        """The text that distinguishes it from all other parts."""
        unnamed = self.number.replace("[", "channel ").replace("]", "")
        return f"{self.name}{self.number}" if self.name else unnamed

    @property
    def limits(self) -> tuple[float, float]:
        """The values shown as the ends of the color map."""
        if isinstance(self.content, Panel) and self.content.kind == "color":
            return 0.0, 1.0
        return (-self.largest, self.largest) if self.largest > 0 else (-0.5, 0.5)

    @property
    def facts(self) -> str:
        """The line about the range, above the first picture of a leaf."""
        has_range = self.is_first and isinstance(self.content, Panel)
        return range_line(self.limits) if has_range else ""


def _parts(data: Any, batch_idx: int, as_rgb: bool) -> Iterator[_Part]:
    for name, leaf in leaves(data):
        array = as_numbers(leaf)
        if array.ndim > 4 or array.size == 0:
            raise ValueError(
                f"The representation {name!r} must be a vector, (channel, value), (channel, "
                "height, width) or (batch, channel, height, width), and not be empty, got the "
                f"shape {array.shape}."
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
            is_only = len(contents) == 1
            number = "" if is_only else f"[{index}] {label}".strip()
            yield _Part(content, name, number, largest, index == 0, is_only)


def leaves(data: Any) -> Iterator[tuple[str, Any]]:
    """Yield the leaves with their names; a dictionary keeps its order, which JAX would sort."""
    if isinstance(data, Mapping):
        for key, value in data.items():
            for name, leaf in leaves(value):
                yield f"{key}/{name}" if name else str(key), leaf
        return
    for path, leaf in jax.tree_util.tree_leaves_with_path(data):
        yield jax.tree_util.keystr(path, simple=True, separator="/"), leaf


def _draw(ax: "matplotlib.axes.Axes", part: _Part, ylim: YLimits) -> None:
    if isinstance(part.content, Panel):
        zoom = zoom_in_axes(ax, part.content.pixels.shape[:2], None)
        draw_panel(ax, part.content, part.limits, zoom, "RdBu_r", {})
        return
    if ylim is None:
        height = MARGIN * part.largest or 1.0
        ylim = (-height, height)
    stem_plot(part.content, ax, None, ylim)


def _are_layers(parts: Sequence[_Part]) -> bool:
    """Return whether each leaf starts a new row, as maps of several channels do."""
    several = [isinstance(part.content, Panel) for part in parts if not part.is_only]
    return len(parts) > 4 and len(several) > 0 and all(several)


def _draw_layers(
    ax: "matplotlib.axes.Axes", parts: Sequence[_Part], ylim: YLimits, title: str
) -> "list[matplotlib.axes.Axes]":
    """Draw each leaf from the start of a row; the number of columns makes the maps largest."""
    dpi = ax.figure.dpi
    width, height = place_size(ax)
    shapes = [part.content.pixels.shape[:2] for part in parts if isinstance(part.content, Panel)]

    def fit(columns: int) -> tuple[Fraction, int, int]:
        rows = _places_in_layers(parts, columns)[-1][0] + 1
        across = (width - _GAP_IN_LAYER * dpi * (columns - 1)) / columns
        down = max(height - _GAP_ABOVE_LAYER * dpi * rows, 0.4 * height) / rows
        zoom = whole_zoom(min(np.array([down, across]) / np.max(shapes, axis=0)))
        return zoom, -rows, -columns

    columns = -max(map(fit, range(1, len(parts) + 1)))[2]
    places = _places_in_layers(parts, columns)
    rows = places[-1][0] + 1
    axes = divide(ax, rows, columns, places, title, _GAP_ABOVE_LAYER, gap_left=_GAP_IN_LAYER)
    heads = [", ".join(filter(None, (part.name, part.facts))) for part in parts]
    numbers = [part.number for part in parts]
    narrowest = min(place_size(one)[0] for one in axes)
    points = min(font_size(heads, width, dpi), font_size(numbers, narrowest, dpi))
    for one, part, head in zip(axes, parts, heads, strict=True):
        _draw(one, part, ylim)
        text = "\n".join(filter(None, (head if part.is_first else "", part.number)))
        one.set_title(text, fontsize=points, pad=4, x=0, horizontalalignment="left")
    return axes


def _places_in_layers(parts: Sequence[_Part], columns: int) -> list[tuple[int, int, int]]:
    """Return the row, and the first and last column, of each part; vectors take a whole row."""
    places, row, column = [], -1, 0
    for part in parts:
        column += 1
        if part.is_first or column == columns:
            row, column = row + 1, 0
        places.append((row, column, column if isinstance(part.content, Panel) else columns - 1))
    return places


def _axes_of(drawn: Any) -> "list[matplotlib.axes.Axes]":
    """Return the axes, given what a model's method returned: axes, or a figure and axes."""
    if isinstance(drawn, tuple) and len(drawn) == 2 and not hasattr(drawn[0], "transAxes"):
        drawn = drawn[1]
    return list(np.atleast_1d(np.asarray(drawn, dtype=object)).ravel())
