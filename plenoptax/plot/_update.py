import re
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple, TYPE_CHECKING

import numpy as np

from .._answers import answer
from .._rules import checked, INDEX
from ._imshow import range_line
from ._layout import shrink
from ._panels import as_numbers
from ._representation import leaves, MARGIN, MOST_AXES


if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.container
    import matplotlib.image


@checked(batch_idx=INDEX)
def update_plot(
    axes: "matplotlib.axes.Axes | Sequence[matplotlib.axes.Axes]",
    data: Any,
    model: Any = None,
    batch_idx: int = 0,
    rescale_ylim: bool = False,
) -> list[Any]:
    """Update an existing plot with new data, without drawing it again, for an animation.

    Stems, images, scatter plots, lines and outlines of histograms can be updated. Either each of
    several ``axes`` shows one series, as after ``plot_representation``, or a single axes shows
    several series.

    Args:
        axes: One axes, or several.
        data: An array of the same kind as the plot: for stems and lines (value,) or (channel,
            value), for points (point, 2) or (channel, point, 2), for images (height, width) or
            (channel, height, width), each with or without a batch axis in front. A channel is a
            series; colors are one series of all their channels. A dictionary or another tree holds
            several series. For a single axes, the keys of a dictionary are the labels in the plot;
            for several axes, the order counts.
        model: A model; if it has a method ``update_plot``, that method updates the plot.
        batch_idx: The element of a batch.
        rescale_ylim: Whether to fit the vertical limits, and the range of the colors of images, to
            the data, with the same limits for all channels of an array. They are symmetric about
            zero, or start at zero if they already did and no value is negative.

    Returns:
        The updated artists and containers of stems of matplotlib.

    Raises:
        TypeError: If the data are not numbers.
        ValueError: If the data do not fit the plot.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> import numpy as np
        >>> import plenoptax as plx
        >>> axes = plx.plot.stem_plot([0.5, 2.0, 1.0], ax=plt.figure().gca())
        >>> (stems,) = plx.plot.update_plot(axes, np.array([1.0, 0.0, 3.0]))
        >>> stems.markerline.get_ydata().tolist()
        [1.0, 0.0, 3.0]
        >>> plt.close(axes.figure)
    """
    method = answer(model, "update_plot")
    if method is not None:
        return list(method(axes, data, batch_idx=batch_idx, rescale_ylim=rescale_ylim))
    several = list(np.atleast_1d(np.asarray(axes, dtype=object)).ravel())
    shown = [one for ax in several for one in _series_of(ax)]
    if isinstance(data, Mapping) and len(several) == 1 and len(shown) > 1:
        shown = _by_label(shown, list(data))
    split = list(_split(data, shown, batch_idx))
    # plot_representation shows no more than MOST_AXES parts of a representation.
    if len(split) != len(shown) and len(shown) != MOST_AXES:
        raise ValueError(
            f"data must hold one series for each of the {len(shown)} series in the plot (stems, "
            f"images, points or lines), got {len(split)}."
        )
    for series, (_, values) in zip(shown, split, strict=False):
        series.set_data(values)
    if rescale_ylim:
        for ax in several:
            pairs = zip(shown, split, strict=False)
            inside = {name for series, (name, _) in pairs if series.ax is ax}
            _rescale_ylim(ax, [values for name, values in split if name in inside])
    return [series.artist for series in shown]


class _Series(NamedTuple):
    """One array in a plot.

    Attributes:
        artist: The artist or container of matplotlib that shows it.
        ax: The axes that it is in.
        kind: The kind of plot: stems, image, color, points, line or outline.
    """

    artist: Any
    ax: "matplotlib.axes.Axes"
    kind: str

    @property
    def rank(self) -> int:
        """The number of axes of its data."""
        return {"color": 3, "image": 2, "points": 2}.get(self.kind, 1)

    def set_data(self, values: np.ndarray) -> None:
        if self.kind == "stems":
            update_stem(self.artist, values)
        elif self.kind in ("image", "color"):
            _update_image(self.artist, values)
        elif self.kind == "points":
            self.artist.set_offsets(values)
        elif self.kind == "outline":
            self.artist.set_data(values)
        else:
            _check_length(values, self.artist.get_xdata())
            self.artist.set_ydata(values)


def update_stem(stem_container: "matplotlib.container.StemContainer", ydata: np.ndarray) -> None:
    """Change the values of the stems at the same places."""
    markers, lines, _ = stem_container
    places = markers.get_xdata()
    _check_length(ydata, places)
    markers.set_ydata(ydata)
    segments = np.zeros((len(places), 2, 2))
    segments[:, :, 0] = np.asarray(places)[:, None]
    segments[:, 1, 1] = ydata
    lines.set_segments(segments)


def _check_length(values: np.ndarray, places: Any) -> None:
    if len(values) != len(places):
        raise ValueError(
            f"data must have {len(places)} values, as many as the plot shows, got {len(values)}."
        )


def _update_image(image: "matplotlib.image.AxesImage", values: np.ndarray) -> None:
    shown = np.asarray(image.get_array()).shape
    pixels = np.clip(np.moveaxis(values, 0, -1), 0, 1) if len(shown) == 3 else values
    block = -(-pixels.shape[0] // shown[0])
    pixels = shrink(pixels, Fraction(1, block))
    if pixels.shape != shown:
        raise ValueError(
            f"data must have the size of the image in the plot, {shown}, got the shape "
            f"{values.shape}."
        )
    image.set_data(pixels)


def _series_of(ax: "matplotlib.axes.Axes") -> list[_Series]:
    from matplotlib.collections import PathCollection
    from matplotlib.container import StemContainer
    from matplotlib.patches import StepPatch

    stems = [one for one in ax.containers if isinstance(one, StemContainer)]
    parts = {id(part) for container in stems for part in container.get_children()}
    images = ["color" if np.asarray(one.get_array()).ndim == 3 else "image" for one in ax.images]
    return [
        *(_Series(one, ax, "stems") for one in stems),
        *(_Series(one, ax, kind) for one, kind in zip(ax.images, images, strict=True)),
        *(_Series(one, ax, "points") for one in ax.collections if isinstance(one, PathCollection)),
        *(_Series(one, ax, "line") for one in ax.lines if id(one) not in parts),
        *(_Series(one, ax, "outline") for one in ax.patches if isinstance(one, StepPatch)),
    ]


def _by_label(shown: list[_Series], labels: list[Any]) -> list[_Series]:
    found = {series.artist.get_label(): series for series in shown}
    unknown = [label for label in labels if label not in found]
    if unknown:
        raise ValueError(
            f"The keys of data must be labels of the plot, {list(found)}, for a single axes, got "
            f"{labels}."
        )
    return [found[label] for label in labels]


def _split(data: Any, shown: list[_Series], batch_idx: int) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the arrays for the series, in their order, with the names of their leaves."""
    count = 0
    for name, leaf in leaves(data):
        array = np.atleast_1d(as_numbers(leaf))
        series = shown[min(count, len(shown) - 1)] if shown else None
        rank = series.rank if series else array.ndim
        if array.ndim == rank + 2 or (series and series.kind == "color" and array.ndim == 4):
            array = array[batch_idx]
        if not rank <= array.ndim <= rank + 1:
            raise ValueError(
                f"The data {name!r} must have {rank} axes, as the plot has, with or without a "
                f"channel and a batch axis in front, got the shape {np.shape(leaf)}."
            )
        for row in array.reshape(-1, *array.shape[array.ndim - rank :]):
            parts = (row.real, row.imag) if np.iscomplexobj(row) else (row,)
            parts = parts if rank > 1 else (np.concatenate(parts),)
            yield from ((name, part) for part in parts)
            count += len(parts)


def _rescale_ylim(ax: "matplotlib.axes.Axes", values: Sequence[np.ndarray]) -> None:
    finite = [one[np.isfinite(one)] for one in values]
    largest = max((float(np.abs(one).max(initial=0)) for one in finite), default=0.0) or 1.0
    if not ax.images:
        from_zero = ax.get_ylim()[0] == 0 and all((one >= 0).all() for one in finite)
        ax.set_ylim(0 if from_zero else -MARGIN * largest, MARGIN * largest)
        return
    for image in ax.images:
        image.set_clim(-largest, largest)
    ranged = range_line((-largest, largest))
    ax.title.set_text(re.sub(r"range: \[.*?\]", ranged, ax.get_title()))
