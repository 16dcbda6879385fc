import re
from collections.abc import Sequence
from numbers import Real

import numpy as np


def color_limits(
    arrays: Sequence[np.ndarray], vrange: str | Sequence[float | int]
) -> list[tuple[float, float]]:
    """Return the values shown as the two ends of the color map, for each array.

    ``"auto..."`` takes the limits from all arrays together, ``"indep..."`` from each array
    separately. The digit says which limits:

    - 0: minus and plus the largest absolute value,
    - 1: the smallest and the largest value,
    - 2: the mean minus and plus two standard deviations,
    - 3: the limits that put the 10th percentile at 10% of the range and the 90th at 90%.

    Values that are not finite are left out. If all values are equal, the limits are 1/2 below and
    above that value, which is shown in the middle of the color map.

    Args:
        arrays: The arrays to be shown, of any shapes.
        vrange: One of the eight modes, ``"auto"`` (which is ``"auto1"``), or the limits as a pair.

    Returns:
        One pair of limits for each array, the lower one first.

    Raises:
        ValueError: If ``vrange`` is not such a mode or a pair of increasing finite numbers.
    """
    if not isinstance(vrange, str):
        return [_explicit_limits(vrange)] * len(arrays)
    mode = "auto1" if vrange == "auto" else vrange
    if not re.fullmatch("(auto|indep)[0-3]", mode):
        raise ValueError(
            "vrange must be 'auto0' to 'auto3' (limits shared by all images; 'auto' is 'auto1'), "
            "'indep0' to 'indep3' (limits for each image), or a pair (minimum, maximum), got "
            f"{vrange!r}."
        )
    digit = int(mode[-1])
    if mode.startswith("auto") and arrays:
        values = np.concatenate([array.ravel() for array in arrays])
        return [_limits(values, digit)] * len(arrays)
    return [_limits(array, digit) for array in arrays]


def is_symmetric(vrange: str | Sequence[float | int]) -> bool:
    """Return whether the mode makes limits symmetric about zero, to be shown in two hues."""
    return isinstance(vrange, str) and vrange in ("auto0", "indep0")


def _explicit_limits(vrange: Sequence[float | int]) -> tuple[float, float]:
    pair = tuple(vrange)
    if (
        len(pair) != 2
        or not all(isinstance(limit, Real) and np.isfinite(limit) for limit in pair)
        or pair[0] >= pair[1]
    ):
        raise ValueError(
            "vrange must be a mode or a pair of two finite numbers, the smaller one first, got "
            f"{vrange!r}."
        )
    return float(pair[0]), float(pair[1])


def _limits(values: np.ndarray, digit: int) -> tuple[float, float]:
    values = values[np.isfinite(values)].astype(np.float64)
    if values.size == 0:
        return 0.0, 1.0
    if digit == 0:
        high = np.abs(values).max()
        low = -high
    elif digit == 1:
        low, high = values.min(), values.max()
    elif digit == 2:
        low, high = values.mean() + 2 * values.std() * np.array([-1, 1])
    else:
        tenth, ninetieth = np.percentile(values, [10, 90])
        outside = (ninetieth - tenth) / 8
        low, high = tenth - outside, ninetieth + outside
    if not low < high:
        return float(low) - 0.5, float(low) + 0.5
    return float(low), float(high)
