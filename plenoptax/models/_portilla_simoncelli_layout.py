from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np
from jaxtyping import Bool, Int


Label: TypeAlias = str | int

PIXELS = "pixel_statistics"
LOWPASS = "residual_lowpass"
HIGHPASS = "residual_highpass"


class Group(NamedTuple):
    """One kind of statistics, stored as an array.

    Attributes:
        labels: The source of the statistics for each index of the last axis: a scale, the pixels or
            a residual.
        kept: Which entries are part of the representation: those that are neither constant nor
            equal to another entry by symmetry.
        is_autocorrelation: Whether the first two axes are shifts.
    """

    labels: tuple[Label, ...]
    kept: Bool[np.ndarray, "..."]
    is_autocorrelation: bool = False


def scale_labels(num_scales: int) -> list[Label]:
    """Return the labels of all statistics, from coarse to fine."""
    return [PIXELS, LOWPASS, *range(num_scales - 1, -1, -1), HIGHPASS]


def statistic_groups(
    num_scales: int, num_orientations: int, width: int, has_magnitude_means: bool
) -> dict[str, Group]:
    """Return the groups of statistics by name, in the order of the representation.

    An autocorrelation has equal values at opposite shifts, and is 1 in the center, so half of the
    shifts are kept. With an even width the most negative shifts have no opposite and are kept. The
    correlations between orientations are symmetric with a diagonal of 1.
    """
    bands = tuple(range(num_scales))
    lowpasses = (*bands, LOWPASS)
    pairs = bands[:-1]
    center = width // 2
    rows, columns = np.indices((width, width))
    shifts = (rows > columns) | ((rows == columns) & (rows < center))
    if width % 2 == 0:
        shifts |= rows == 0
    lower = np.tri(num_orientations, k=-1, dtype=bool)

    def group(labels: tuple[Label, ...], *axes: int, first: np.ndarray | None = None) -> Group:
        first = np.array(True) if first is None else first
        shape = (*first.shape, *axes, len(labels))
        kept = np.broadcast_to(first.reshape(*first.shape, *[1] * (len(axes) + 1)), shape)
        return Group(labels, kept, first is shifts)

    means = {"magnitude_means": group(bands, num_orientations)} if has_magnitude_means else {}
    return {
        "pixel_statistics": group((PIXELS,) * 6),
        "auto_correlation_magnitude": group(bands, num_orientations, first=shifts),
        "skew_reconstructed": group(lowpasses),
        "kurtosis_reconstructed": group(lowpasses),
        "auto_correlation_reconstructed": group(lowpasses, first=shifts),
        "std_reconstructed": group(lowpasses),
        "cross_orientation_correlation_magnitude": group(bands, first=lower),
        "magnitude_std": group(bands, num_orientations),
        "cross_scale_correlation_magnitude": group(pairs, num_orientations, num_orientations),
        "cross_scale_correlation_real": group(pairs, num_orientations, 2 * num_orientations),
        "var_highpass_residual": group((HIGHPASS,)),
        **means,
    }


def gather_indices(groups: dict[str, Group], scales: tuple[Label, ...]) -> Int[np.ndarray, " n"]:
    """Return the index of each statistic of the representation in the output of ``measure``.

    ``measure`` returns the groups in the same order, each as `measured_indices` describes.
    """
    indices, start = [], 0
    for group in groups.values():
        numbers, size, _ = measured_indices(group, scales)
        indices.append(start + numbers)
        start += size
    return np.concatenate(indices)


def measured_indices(
    group: Group, scales: tuple[Label, ...]
) -> tuple[Int[np.ndarray, " n"], int, int]:
    """Return the index of each statistic of a group in the flat array that was measured.

    The last axis of the group comes first in that array and has only the indices whose label is
    among ``scales``. Its shifts are in one half plane: rows from 0 to ``width // 2``, columns from
    ``-(width // 2)`` to ``width // 2``.

    Returns:
        The indices, the size of the measured array, and the length of its first axis.
    """
    present = np.array([label in scales for label in group.labels], bool)
    kept = group.kept[..., present]
    count, center = kept.shape[-1], len(kept) // 2
    if group.is_autocorrelation:
        measured = (count, *kept.shape[2:-1], center + 1, 2 * center + 1)
    else:
        measured = (count, *kept.shape[:-1])
    size = int(np.prod(measured, dtype=int))
    numbers = np.moveaxis(np.arange(size).reshape(measured), 0, -1)
    if group.is_autocorrelation:
        rows, columns = np.indices(kept.shape[:2]) - center
        sign = np.where(rows < 0, -1, 1)
        numbers = np.moveaxis(numbers, (-3, -2), (0, 1))
        numbers = numbers[sign * rows, sign * columns + center]
    return numbers[kept], size, count


def check_size(shape: tuple[int, int], num_scales: int, width: int, advice: str) -> None:
    """Reject an image that is too small for the scales and the shifts."""
    smallest = min(shape)
    most_scales = smallest.bit_length() - 3
    if most_scales < num_scales:
        fewer = f" Use n_scales <= {most_scales}." if most_scales > 0 else ""
        raise ValueError(
            f"For {num_scales} scales an image must have at least {2 ** (num_scales + 2)} pixels "
            f"along each axis, got {shape}.{advice or fewer}"
        )
    coarsest = -(-smallest // 2**num_scales)
    if width > coarsest:
        raise ValueError(
            f"spatial_corr_width must be at most {coarsest}, the samples along the shorter axis of "
            f"the lowpass residual of an image of shape {shape}, got {width}."
            f"{advice or ' Use a smaller spatial_corr_width or n_scales, or larger images.'}"
        )


def check_scales(scales: Sequence[Label], known: Sequence[Label]) -> tuple[Label, ...]:
    """Return the labels that a user chose, as Python numbers, and reject unknown labels."""
    # 0.0 and False are equal to 0.
    pairs = [(type(label), label) for label in known]
    labels = [label.item() if isinstance(label, np.generic) else label for label in scales]
    unknown = [label for label in labels if (type(label), label) not in pairs]
    if unknown or not scales:
        raise ValueError(f"scales must be some of {list(known)}, got {scales!r}.")
    return tuple(labels)
