"""Correlations and a logistic fit, each of many samples at once: rows of NumPy arrays."""

import numpy as np
from jaxtyping import Float


Rows = Float[np.ndarray, "sample pair"]


def pearson(x: Rows, y: Rows) -> Float[np.ndarray, " sample"]:
    """Correlate the rows of two arrays; NaN where a row is constant."""
    x, y = (values - values.mean(1, keepdims=True) for values in (x, y))
    squares = (x**2).sum(1) * (y**2).sum(1)
    products = (x * y).sum(1)
    return np.where(squares > 0, products / np.sqrt(np.where(squares > 0, squares, 1)), np.nan)


def spearman(x: Rows, y: Rows) -> Float[np.ndarray, " sample"]:
    """Correlate the ranks of the rows of two arrays; equal values share their mean rank."""
    return pearson(_ranks(x), _ranks(y))


def _ranks(x: Rows) -> Rows:
    order = np.argsort(x, axis=1, kind="stable")
    ordered = np.take_along_axis(x, order, 1)
    place = np.arange(x.shape[1])
    starts = np.ones(x.shape, bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    ends = np.ones(x.shape, bool)
    ends[:, :-1] = starts[:, 1:]
    first = np.maximum.accumulate(np.where(starts, place, 0), axis=1)
    reverse = np.where(ends, place, x.shape[1])[:, ::-1]
    last = np.minimum.accumulate(reverse, axis=1)[:, ::-1]
    ranks = np.empty(x.shape)
    np.put_along_axis(ranks, order, (first + last) / 2, 1)
    return ranks


def kendall(x: Rows, y: Rows) -> Float[np.ndarray, " sample"]:
    """Compute Kendall's tau-b of the rows of two arrays; NaN where a row is constant.

    Knight's method: sorted by x, pairs in the wrong order are the inversions of y.
    """
    count = x.shape[1]
    x, y = (_ranks(values) for values in (x, y))
    order = np.lexsort((y, x), axis=1)
    x, y = (np.take_along_axis(values, order, 1) for values in (x, y))
    pairs = count * (count - 1) / 2
    tied_x, tied_y = _ties(x), _ties(np.sort(y, axis=1))
    # Both ranks as one number; ranks are multiples of one half.
    tied_both = _ties(np.sort(2 * x * (2 * count) + 2 * y, axis=1))
    difference = pairs - tied_x - tied_y + tied_both - 2 * _inversions(y)
    squares = (pairs - tied_x) * (pairs - tied_y)
    return np.where(squares > 0, difference / np.sqrt(np.where(squares > 0, squares, 1)), np.nan)


def _ties(ordered: Rows) -> Float[np.ndarray, " sample"]:
    """Count the pairs of equal values in ordered rows."""
    place = np.arange(ordered.shape[1])
    starts = np.ones(ordered.shape, bool)
    starts[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    first = np.maximum.accumulate(np.where(starts, place, 0), axis=1)
    return (place - first).sum(1).astype(np.float64)


def _inversions(y: Rows) -> Float[np.ndarray, " sample"]:
    """Count the pairs of each row of which the first is larger, by merging sorted blocks."""
    num_rows, count = y.shape
    length = 1 << max(count - 1, 0).bit_length()
    # What fills the rows is larger than all values, at the end, and so in order.
    y = np.pad(y, [(0, 0), (0, length - count)], constant_values=np.inf)
    inversions, size = np.zeros(num_rows), 1
    while size < length:
        blocks = y.reshape(num_rows, -1, 2 * size)
        # Stable, so that equal values are in order.
        order = np.argsort(blocks, axis=2, kind="stable")
        places = np.where(order < size, np.arange(2 * size), 0).sum((1, 2))
        own = size * (size - 1) // 2 * blocks.shape[1]
        # Each of the left half has moved behind the smaller ones of the right.
        inversions += places - own
        y = np.take_along_axis(blocks, order, 2).reshape(num_rows, length)
        size *= 2
    return inversions


_MAX_STEPS, _MOST_DAMPING = 30, 1e6

Coefficients = Float[np.ndarray, "sample 4"]


def logistic(coefficients: Coefficients, x: Rows) -> Rows:
    """Compute ``far + (near - far) / (1 + exp((x - middle) / width))``."""
    near, far, middle, width = (coefficients[:, i, None] for i in range(4))
    return far + (near - far) * _sigmoid((middle - x) / width)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return (1 + np.tanh(x / 2)) / 2


def fit_logistic(
    x: Rows, y: Rows, start: Float[np.ndarray, "_start 4"] | None = None
) -> Coefficients:
    """Fit the function to each row by least squares, with Levenberg's and Marquardt's steps.

    Args:
        x: The distances.
        y: The scores.
        start: Where to start, one for all rows; by default at the range of the scores, and at the
            mean and the deviation of the distances.
    """
    deviation = x.std(1)
    scale = np.where(deviation > 0, deviation, 1)
    if start is None:
        found = np.stack([y.max(1), y.min(1), x.mean(1), scale], 1)
    else:
        found = np.repeat(start, len(x), 0)
    damping, is_done = np.full(len(x), 1e-3), np.zeros(len(x), bool)
    error = ((logistic(found, x) - y) ** 2).sum(1)
    for _ in range(_MAX_STEPS):
        gradient, curvature = _normal_equations(found, x, y)
        diagonal = np.einsum("sii->si", curvature)
        # The curvature is singular where a coefficient has no effect.
        floor = 1e-12 * diagonal.max(1, keepdims=True) + np.finfo(float).tiny
        damped = curvature + np.eye(4) * (damping[:, None] * diagonal + floor)[:, None]
        trial = found - np.linalg.solve(damped, gradient[..., None])[..., 0]
        trial[:, 3] = np.clip(np.abs(trial[:, 3]), 1e-3 * scale, 1e3 * scale)
        new = ((logistic(trial, x) - y) ** 2).sum(1)
        is_better = new < error
        is_done |= np.where(is_better, error - new <= 1e-7 * error, damping > _MOST_DAMPING)
        found = np.where(is_better[:, None], trial, found)
        error = np.where(is_better, new, error)
        damping = np.where(is_better, damping / 5, damping * 5)
        if is_done.all():
            break
    return found


def _normal_equations(
    coefficients: Coefficients, x: Rows, y: Rows
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradient of half of the squared error, and its curvature without residuals."""
    near, far, middle, width = (coefficients[:, i, None] for i in range(4))
    distance = (middle - x) / width
    share = _sigmoid(distance)
    slope = (near - far) * share * (1 - share) / width
    jacobian = np.stack([share, 1 - share, slope, -slope * distance], 1)
    residual = far + (near - far) * share - y
    gradient = (jacobian @ residual[..., None])[..., 0]
    return gradient, jacobian @ jacobian.swapaxes(1, 2)
