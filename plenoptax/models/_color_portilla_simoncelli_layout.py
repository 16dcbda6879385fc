import numpy as np
from jaxtyping import Int

from ._portilla_simoncelli_layout import (
    Group,
    Label,
    LOWPASS,
    measured_indices,
    PIXELS,
    statistic_groups,
)


NUM_CHANNELS = 3
NUM_DIRECTIONS = 16
NUM_QUANTILES = 32
# The lowpass residual and its neighbors, in rows and columns of 2**n_scales pixels.
LOWPASS_SHIFTS = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))

_ALL_CHANNELS = (
    "cross_orientation_correlation_magnitude",
    "cross_scale_correlation_magnitude",
    "cross_scale_correlation_real",
    "color_covariance",
    "cross_orientation_correlation_real",
    "cross_correlation_lowpass",
    "cross_correlation_coarsest_scale_lowpass",
    "color_quantiles",
)


def color_groups(
    num_scales: int, num_orientations: int, width: int, has_quantiles: bool
) -> dict[str, Group]:
    """Return the groups of statistics by name, in the order of the representation.

    Groups of single channels are those of the gray model with a leading channel axis. In the groups
    between channels, the bands of all channels are one axis, channel by channel.
    """
    own = statistic_groups(num_scales, num_orientations, width, False)
    joint = statistic_groups(num_scales, NUM_CHANNELS * num_orientations, width, False)
    pixels = Group((PIXELS,), np.ones(1, bool))
    num_signals = NUM_CHANNELS * len(LOWPASS_SHIFTS)
    coarsest = np.ones((NUM_CHANNELS * num_orientations, num_signals), bool)
    quantiles = {}
    if has_quantiles:
        kept = np.ones((NUM_DIRECTIONS, NUM_QUANTILES), bool)
        quantiles["color_quantiles"] = _matrix(kept, PIXELS)
    of_channels = {
        "auto_correlation_transformed": _of_pixels(own["auto_correlation_reconstructed"]),
        "skew_transformed": pixels,
        "kurtosis_transformed": pixels,
    }
    groups = {
        name: joint[name] if name in _ALL_CHANNELS else _each_channel(group)
        for name, group in own.items()
    }
    return {
        **groups,
        "color_covariance": _matrix(np.tri(NUM_CHANNELS, k=-1, dtype=bool), PIXELS),
        **{name: _each_channel(group) for name, group in of_channels.items()},
        "cross_orientation_correlation_real": joint["cross_orientation_correlation_magnitude"],
        "cross_correlation_lowpass": _matrix(_distinct_shifts(), LOWPASS),
        "cross_correlation_coarsest_scale_lowpass": _matrix(coarsest, num_scales - 1),
        **quantiles,
    }


def color_gather_indices(
    groups: dict[str, Group], scales: tuple[Label, ...]
) -> Int[np.ndarray, " n"]:
    """Return the index of each statistic of the representation in the output of ``measure_color``.

    The measured groups are arranged as `measured_indices` describes. Groups of single channels have
    the channel as their second axis there.
    """
    indices, start = [], 0
    for name, group in groups.items():
        if name in _ALL_CHANNELS:
            numbers, size, _ = measured_indices(group, scales)
        else:
            own = group._replace(kept=group.kept[0])
            of_one, size, count = measured_indices(own, scales)
            rest = size // max(count, 1)
            first, inner = np.divmod(of_one, max(rest, 1))
            channels = np.arange(NUM_CHANNELS)[:, None]
            numbers = ((first * NUM_CHANNELS + channels) * rest + inner).ravel()
            size *= NUM_CHANNELS
        indices.append(start + numbers)
        start += size
    return np.concatenate(indices)


def _each_channel(group: Group) -> Group:
    return group._replace(kept=np.stack([group.kept] * NUM_CHANNELS))


def _of_pixels(group: Group) -> Group:
    return group._replace(labels=(PIXELS,), kept=group.kept[..., :1])


def _matrix(kept: np.ndarray, label: Label) -> Group:
    return Group((label,) * kept.shape[-1], kept)


def _distinct_shifts() -> np.ndarray:
    """Return which correlations of shifted lowpass residuals are kept.

    They depend only on the two channels and on the difference of the shifts; within a channel
    opposite differences are equal. Of equal correlations the first is kept.
    """
    signals = [(c, *shift) for c in range(NUM_CHANNELS) for shift in LOWPASS_SHIFTS]
    kept, seen = np.zeros((len(signals), len(signals)), bool), set()
    for row, (first, *shift) in enumerate(signals):
        for column, (second, *other) in enumerate(signals[:row]):
            difference = (other[0] - shift[0], other[1] - shift[1])
            if first == second:
                difference = max(difference, (-difference[0], -difference[1]))
            kept[row, column] = (first, second, difference) not in seen
            seen.add((first, second, difference))
    return kept
