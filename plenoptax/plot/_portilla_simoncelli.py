from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TYPE_CHECKING

import numpy as np

from ._divide import axes_of_new_figure, divide
from ._layout import font_size, place_size, root_figure, TITLE_HEIGHT
from ._panels import as_numbers
from ._stem import stem_plot


if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

_COLUMNS = 3
_PIXEL_LABELS = ("mean", "var", "skew", "kurt", "min", "max", "high")


def plot_portilla_simoncelli(
    model: Any,
    data: Any,
    ax: "matplotlib.axes.Axes | None" = None,
    figsize: tuple[float | int, float | int] | None = None,
    ylim: Sequence[float | int] | Literal[False] | None = None,
    batch_idx: int = 0,
    title: str | None = None,
    *,
    channel_idx: int | None = None,
) -> "tuple[matplotlib.figure.Figure, list[matplotlib.axes.Axes]]":
    """Plot texture statistics, or the difference of two sets of them, group by group.

    There are eight axes, or six for a model of one scale, which has no statistics across scales.
    The autocorrelations and the correlations across orientations and scales are many. Therefore
    each block of them is summarized by the root of the sum of squares over its two axes (the
    shifts, or the two orientations), so that one stem is left for each scale (and orientation).
    Scales run from fine to coarse, with the low-pass image last.

    Args:
        model: The model that computed the statistics.
        data: The statistics, of shape (channel, statistic); a batch of them; or one channel of
            them.
        ax: The axes to divide. The default makes a figure.
        figsize: The width and height of that figure in inches, by default (12, 8.6), or
            (12, 5.9) for six axes.
        ylim: The limits of all vertical axes. None puts the lower limit of an axes at 0 if no value
            is negative, False leaves them to matplotlib.
        batch_idx: The element of a batch.
        title: The title above all axes.
        channel_idx: The channel; None is the mean over the channels.

    Returns:
        The figure and its axes.

    Raises:
        ValueError: If both ``ax`` and ``figsize`` are given, or the data are not of that shape.
    """
    groups = _groups(model.convert_to_dict(_statistics(data, batch_idx, channel_idx)))
    return plot_groups(groups, ax, figsize, ylim, title)


def plot_groups(
    groups: "Sequence[StemGroup]",
    ax: "matplotlib.axes.Axes | None",
    figsize: tuple[float | int, float | int] | None,
    ylim: Sequence[float | int] | Literal[False] | None,
    title: str | None,
) -> "tuple[matplotlib.figure.Figure, list[matplotlib.axes.Axes]]":
    """Draw an axes for each group of stems; the arguments are those of the public functions."""
    if ax is not None and figsize is not None:
        raise ValueError(
            "Only one of ax= and figsize= must be given, got both. Leave out figsize=, which is "
            "for a new figure."
        )
    rows = -(-len(groups) // _COLUMNS)
    ax = axes_of_new_figure(figsize or (12, 2.7 * rows + 0.5)) if ax is None else ax
    axes = divide(ax, rows, _COLUMNS, len(groups), title or "", 0.85)
    width = place_size(axes[0])[0]
    points = font_size([group.title for group in groups], width, axes[0].figure.dpi)
    for one, group in zip(axes, groups, strict=True):
        _draw(one, group, ylim)
        one.set_title(group.title, fontsize=points, pad=4, y=TITLE_HEIGHT)
    return root_figure(ax), axes


def portilla_simoncelli_stems(
    model: Any, data: Any, batch_idx: int, channel_idx: int | None = None
) -> list[np.ndarray]:
    """Return the stems that `plot_portilla_simoncelli` shows, one array for each axes."""
    groups = _groups(model.convert_to_dict(_statistics(data, batch_idx, channel_idx)))
    return [group.values.ravel() for group in groups]


class StemGroup(NamedTuple):
    """The stems of one axes, in pieces of the same length.

    Attributes:
        title: The name of the statistics.
        values: The stems.
        labels: The label below each piece.
        xlabel: The quantity that the labels are values of.
    """

    title: str
    values: np.ndarray
    labels: Sequence[str]
    xlabel: str


def _statistics(data: Any, batch_idx: int, channel_idx: int | None) -> np.ndarray:
    """Return the statistics of one channel, or their mean, as the only channel."""
    array = as_numbers(data)
    if array.ndim == 3:
        if not -len(array) <= batch_idx < len(array):
            raise ValueError(
                f"batch_idx must be between {-len(array)} and {len(array) - 1}, got {batch_idx}."
            )
        array = array[batch_idx]
    if array.ndim not in (1, 2):
        raise ValueError(
            "data must have the shape (channel, statistic), as the model returns it, (batch, "
            f"channel, statistic), or (statistic,) for one channel, got {array.shape}."
        )
    array = np.atleast_2d(array)
    if channel_idx is None:
        return array.mean(0, keepdims=True)
    if not -len(array) <= channel_idx < len(array):
        raise ValueError(
            f"channel_idx must be between {-len(array)} and {len(array) - 1}, got {channel_idx}."
        )
    return array[[channel_idx]]


def _groups(statistics: Mapping[str, Any]) -> list[StemGroup]:
    def group(name: str) -> np.ndarray:
        return np.asarray(statistics[name], np.float64)[0]

    def summary(name: str) -> np.ndarray:
        # NaN marks statistics that are left out: they are equal to others, or constant.
        return np.sqrt(np.nansum(group(name) ** 2, (0, 1)))

    spreads = [group(f"{name}_reconstructed") for name in ("std", "skew", "kurtosis")]
    pixels = np.append(group("pixel_statistics"), group("var_highpass_residual"))
    deviations = group("magnitude_std")
    orientations = [str(index) for index in range(len(deviations))]
    scales = [str(index) for index in range(deviations.shape[1])]
    groups = [
        StemGroup("pixels + var_highpass", pixels, _PIXEL_LABELS, ""),
        StemGroup(
            "std + skew + kurtosis\nreconstructed",
            np.concatenate(spreads),
            ("std", "skew", "kurtosis"),
            "",
        ),
        StemGroup("magnitude_std", deviations, orientations, "orientation, and scale within"),
        StemGroup(
            "auto_correlation\nreconstructed",
            summary("auto_correlation_reconstructed"),
            [*scales, "lowpass"],
            "scale",
        ),
        StemGroup(
            "auto_correlation\nmagnitude",
            summary("auto_correlation_magnitude"),
            orientations,
            "orientation, and scale within",
        ),
    ]
    for title in (
        "cross_orientation\ncorrelation_magnitude",
        "cross_scale\ncorrelation_magnitude",
        "cross_scale\ncorrelation_real",
    ):
        values = summary(title.replace("\n", "_"))
        groups.append(StemGroup(title, values, scales[: len(values)], "scale"))
    return [group for group in groups if group.values.size]


def _draw(
    ax: "matplotlib.axes.Axes",
    group: StemGroup,
    ylim: Sequence[float | int] | Literal[False] | None,
) -> None:
    count, length = group.values.size, group.values.size // len(group.labels)
    starts = np.arange(0, count, length)
    stops = starts + length - 1
    margin = 0.3
    stem_plot(group.values.ravel(), ax, None, ylim, (starts - margin, stops + margin))
    ax.xaxis.set_visible(True)
    ax.set_xticks((starts + stops) / 2, group.labels, fontsize=7)
    ax.tick_params("x", length=0)
    # No common factor, because it overlaps the title.
    ax.yaxis.set_major_formatter("{x:.2g}")
    ax.set_xlabel(group.xlabel, fontsize=7, labelpad=1)
