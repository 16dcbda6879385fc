from typing import Any

import jax
import numpy as np
from jax.core import Tracer

from .._answers import inside
from ._pixels import penalize_range


def allowed_range_of(penalty_function: Any, penalty_lambda: Any) -> tuple[float, float] | None:
    """Find the range of pixel values that a penalty allows.

    `penalize_range` has a range, also within ``functools.partial``, a compiled function, or a sum
    or soft maximum of penalties, where the narrowest range counts. A penalty of your own has one if
    it has an attribute ``allowed_range``.

    Args:
        penalty_function: The penalty of a problem.
        penalty_lambda: Its weight, or the schedule of its weight.

    Returns:
        Lowest and highest value. If the bounds differ between pixels, the lowest and the highest of
        all. None if the weight is 0 or no range is known, as in a lambda function.

    Example:
        >>> import functools
        >>> penalty_function = functools.partial(penalize_range, allowed_range=(0.0, 2.0))
        >>> allowed_range_of(penalty_function, 0.1)
        (0.0, 2.0)
        >>> allowed_range_of(penalty_function, 0) is None
        True
    """
    is_unknown = callable(penalty_lambda) or isinstance(penalty_lambda, Tracer)
    if not is_unknown and not np.any(np.asarray(penalty_lambda)):
        return None
    penalty = penalty_function
    while penalty is not None:
        keywords = getattr(penalty, "keywords", {})
        if "allowed_range" in keywords:
            return _outermost(keywords["allowed_range"])
        if penalty is penalize_range:
            return 0.0, 1.0
        if hasattr(penalty, "allowed_range"):
            return _outermost(penalty.allowed_range)
        if hasattr(penalty, "terms") and hasattr(penalty, "weights"):
            return _narrowest(penalty.terms, penalty.weights)
        penalty = inside(penalty)
    return None


def _narrowest(terms: Any, weights: Any) -> tuple[float, float] | None:
    weights = weights if isinstance(weights, Tracer) else np.asarray(weights)
    found = [allowed_range_of(*pair) for pair in zip(terms, weights, strict=True)]
    ranges = [one for one in found if one is not None]
    if not ranges:
        return None
    low, high = max(low for low, _ in ranges), min(high for _, high in ranges)
    return (low, high) if low < high else None


def _outermost(allowed_range: Any) -> tuple[float, float] | None:
    if allowed_range is None or any(isinstance(x, Tracer) for x in jax.tree.leaves(allowed_range)):
        return None
    low, high = allowed_range
    return float(np.min(low)), float(np.max(high))
