from collections.abc import Mapping, Sequence
from typing import Any, Literal, TYPE_CHECKING

import numpy as np

from ._panels import as_numbers
from ._portilla_simoncelli import plot_groups, StemGroup


if TYPE_CHECKING:
    import matplotlib.axes
    import matplotlib.figure

_CHANNELS = ("1", "2", "3")
_PAIRS = tuple(f"{first} {second}" for first in _CHANNELS for second in _CHANNELS)


def plot_color_portilla_simoncelli(
    model: Any,
    data: Any,
    ax: "matplotlib.axes.Axes | None" = None,
    figsize: tuple[float | int, float | int] | None = None,
    ylim: Sequence[float | int] | Literal[False] | None = None,
    batch_idx: int = 0,
    title: str | None = None,
) -> "tuple[matplotlib.figure.Figure, list[matplotlib.axes.Axes]]":
    """Plot color texture statistics, or the difference of two sets of them, in 12 or 13 axes.

    As in `plot_portilla_simoncelli`, a stem summarizes autocorrelations by the root of the sum of
    squares over all shifts, and correlations of bands by that over all orientations, for each scale
    and pair of channels. The numbers below the stems are those of the transformed channels.

    Args:
        model: The model that computed the statistics.
        data: The statistics, of shape (statistic,), or a batch of them.
        ax: The axes to divide. The default makes a figure.
        figsize: The width and height of that figure in inches.
        ylim: The limits of all vertical axes. None puts the lower limit of an axes at 0 if no value
            is negative, False leaves them to matplotlib.
        batch_idx: The element of a batch.
        title: The title above all axes.

    Returns:
        The figure and its axes.

    Raises:
        ValueError: If both ``ax`` and ``figsize`` are given, or the data are not of that shape.
    """
    return plot_groups(_groups(model, data, batch_idx), ax, figsize, ylim, title)


def color_portilla_simoncelli_stems(model: Any, data: Any, batch_idx: int) -> list[np.ndarray]:
    """Return the stems that `plot_color_portilla_simoncelli` shows, one array for each axes."""
    return [group.values.ravel() for group in _groups(model, data, batch_idx)]


def _groups(model: Any, data: Any, batch_idx: int) -> list[StemGroup]:
    array = as_numbers(data)
    if array.ndim == 2:
        if not -len(array) <= batch_idx < len(array):
            raise ValueError(
                f"batch_idx must be between {-len(array)} and {len(array) - 1}, got {batch_idx}."
            )
        array = array[batch_idx]
    if array.ndim != 1:
        raise ValueError(
            "data must have the shape (statistic,), as the model returns it, or (batch, "
            f"statistic), got {array.shape}."
        )
    arrays = {name: np.asarray(a, float) for name, a in model.convert_to_dict(array).items()}
    found = _channel_groups(arrays) + _pair_groups(arrays)
    if "color_quantiles" in arrays:
        values = arrays["color_quantiles"]
        labels = [str(number) for number in range(len(values))]
        found.append(StemGroup("color_quantiles", values, labels, "direction"))
    return [group for group in found if group.values.size]


def _channel_groups(arrays: Mapping[str, np.ndarray]) -> list[StemGroup]:
    def shifts(name: str) -> np.ndarray:
        # NaN marks statistics that are left out: they are equal to others, or constant.
        return np.sqrt(np.nansum(arrays[name] ** 2, (1, 2))).reshape(3, -1)

    def together(names: Sequence[str]) -> np.ndarray:
        return np.concatenate([arrays[name].ravel() for name in names])

    covariance = arrays["color_covariance"][np.tril_indices(3, -1)]
    whole = ("skew_transformed", "kurtosis_transformed", "var_highpass_residual")
    reconstructed = [f"{name}_reconstructed" for name in ("std", "skew", "kurtosis")]
    correlations = [shifts(f"auto_correlation_{name}") for name in ("transformed", "reconstructed")]
    return [
        StemGroup("pixels", arrays["pixel_statistics"], "RGB", "mean to maximum, of each color"),
        StemGroup("color_covariance", covariance, ("R G", "R B", "G B"), ""),
        StemGroup(
            "transformed + var_highpass", together(whole), ("skew", "kurtosis", "var_highpass"), ""
        ),
        StemGroup(
            "std + skew + kurtosis\nreconstructed",
            together(reconstructed),
            ("std", "skew", "kurtosis"),
            "",
        ),
        StemGroup("magnitude_std", arrays["magnitude_std"], _CHANNELS, "channel"),
        StemGroup(
            "auto_correlation\ntransformed + reconstructed",
            np.concatenate(correlations, axis=1),
            _CHANNELS,
            "channel",
        ),
        StemGroup(
            "auto_correlation\nmagnitude",
            shifts("auto_correlation_magnitude"),
            _CHANNELS,
            "channel",
        ),
    ]


def _pair_groups(arrays: Mapping[str, np.ndarray]) -> list[StemGroup]:
    def pairs(name: str, *columns: int) -> np.ndarray:
        values = arrays[name]
        values = values[..., None] if values.ndim == 2 else values
        blocks = values.reshape(3, len(values) // 3, *columns, values.shape[-1])
        # After the channel of a row come its bands; the columns have one axis of length 3 too.
        bands = (1, 3) if len(columns) == 2 else (1, 2, 4)
        return np.sqrt(np.nansum(blocks**2, bands)).reshape(9, -1)

    num_orientations = arrays["magnitude_std"].shape[1]
    titles = {
        "cross_orientation\ncorrelation_magnitude": (3, num_orientations),
        "cross_orientation\ncorrelation_real": (3, num_orientations),
        "cross_scale\ncorrelation_magnitude": (3, num_orientations),
        "cross_scale\ncorrelation_real": (2, 3, num_orientations),
        "cross_correlation\nlowpass": (3, 5),
        "cross_correlation_coarsest\nscale_lowpass": (3, 5),
    }
    return [
        StemGroup(title, pairs(title.replace("\n", "_"), *columns), _PAIRS, "channels")
        for title, columns in titles.items()
    ]
