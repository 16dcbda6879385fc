"""Pixel measures of a report: distances between images, and correlations of their channels."""

from collections.abc import Callable, Sequence
from itertools import combinations

import jax
import numpy as np
from jaxtyping import Array, Float

from .._compiled import call_compiled
from .._types import PyTree
from ..regularize import allowed_range_of
from ..solve import AbstractProblem
from ._judge import correlate


Range = tuple[float, float]


def range_of(problem: AbstractProblem, image: Array | None) -> Range | None:
    """Return the range of pixel values of a synthesis: that of its penalty, else [0, 1].

    Args:
        problem: The problem that was minimized.
        image: An image that the user gave, or None.

    Returns:
        The range. None if the penalty has no range and the user's image leaves [0, 1], as a sound
        does.
    """
    penalty = getattr(problem, "penalty_function", None)
    found = allowed_range_of(penalty, getattr(problem, "penalty_lambda", 0.0))
    if found is None and image is not None and (np.min(image) < 0 or np.max(image) > 1):
        return None
    return (0.0, 1.0) if found is None else found


def is_own_target(model: Callable, image: Array, target: PyTree) -> bool:
    """Return whether a target representation is that of an image, not one that the user gave."""
    pairs = zip(jax.tree.leaves(call_compiled(model, image)), jax.tree.leaves(target), strict=True)
    # In a batch another program computed the target, with other rounding.
    return all(
        np.allclose(own, given, rtol=1e-3, atol=1e-5 * float(np.max(np.abs(given), initial=0)))
        for own, given in pairs
    )


def rms(a: Float[Array | np.ndarray, "..."], b: Float[Array | np.ndarray, "..."]) -> float:
    """Return the root mean square difference of two images, in pixel values."""
    return float(np.sqrt(np.mean((np.asarray(a, np.float64) - np.asarray(b, np.float64)) ** 2)))


def are_the_same_to_the_eye(distances: Sequence[float], pixel_range: Range | None) -> bool:
    """Return whether all distances are below half a gray level of 8 bits."""
    # Also false if a distance is NaN.
    return all(level < 0.5 for level in _gray_levels(distances, pixel_range))


def describe_distances(distances: Sequence[float], pixel_range: Range | None) -> str:
    """Describe one distance, or the smallest and the largest of several, in two units."""
    text = f"{_span(distances)} in pixel values"
    levels = _gray_levels(distances, pixel_range)
    if np.isfinite(levels).all():
        text += f", {_span(levels)} gray levels of 8 bits"
    if are_the_same_to_the_eye(distances, pixel_range):
        text += ": visually the same image"
    return text


def violation_of(image: Float[Array, "..."], pixel_range: Range | None) -> float:
    """Return the largest distance by which an image leaves a range; NaN without a range."""
    if pixel_range is None:
        return float("nan")
    low, high = pixel_range
    return max(0.0, float(low - np.min(image)), float(np.max(image) - high))


def share_outside(image: Float[Array, "..."], pixel_range: Range | None) -> float:
    """Return the share of the pixels of an image that are outside of a range; NaN without one."""
    if pixel_range is None:
        return float("nan")
    low, high = pixel_range
    pixels = np.asarray(image)
    return float(np.mean((pixels < low) | (pixels > high)))


def compare_channels(original: Array | None, image: Array) -> dict[str, tuple[float, float]]:
    """Return the correlation of each pair of channels over the pixels, in two images.

    Returns:
        The correlations by pair of channels; empty unless both images have the same number of
        channels, 2 to 4.
    """
    if original is None or image.ndim != 3 or not 2 <= len(image) <= 4:
        return {}
    if original.ndim != 3 or len(original) != len(image):
        return {}
    rows = [np.asarray(one, np.float64).reshape(len(one), -1) for one in (original, image)]
    return {
        f"{i} and {j}": (correlate(rows[0][i], rows[0][j]), correlate(rows[1][i], rows[1][j]))
        for i, j in combinations(range(len(image)), 2)
    }


def _gray_levels(distances: Sequence[float], pixel_range: Range | None) -> list[float]:
    if pixel_range is None or not np.isfinite(pixel_range).all():
        return [float("nan")] * len(distances)
    low, high = pixel_range
    return [255 * distance / (high - low) for distance in distances]


def _span(values: Sequence[float]) -> str:
    low, high = f"{min(values):.3g}", f"{max(values):.3g}"
    return low if low == high else f"{low} to {high}"
