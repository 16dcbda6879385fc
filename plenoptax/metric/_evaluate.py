from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, final, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import ArrayLike

from .._rules import check_key, checked, Real, STEPS
from .._types import Key
from ..validate import validate_metric
from ._agreement import fit_logistic, kendall, logistic, pearson, spearman


@final
class Estimate(NamedTuple):
    """A correlation and its bootstrap interval.

    Attributes:
        value: The correlation; NaN if all scores or all distances are equal.
        low: The lower end of the interval.
        high: The upper end.
    """

    value: float
    low: float
    high: float


@final
class Agreement(NamedTuple):
    """How well a metric agrees with scores.

    Attributes:
        count: The number of pairs.
        srcc: Spearman's rank correlation.
        krcc: Kendall's rank correlation (tau-b).
        plcc: Pearson's correlation of the scores with a logistic function of the distances.
        coefficients: The four coefficients of that function: its value at small and at large
            distances, the distance in the middle, and the width.
    """

    count: int
    srcc: Estimate
    krcc: Estimate
    plcc: Estimate
    coefficients: tuple[float, float, float, float]


@final
class Evaluation(NamedTuple):
    """The agreement of a metric with the scores of a database.

    Attributes:
        distances: The value of the metric for each pair.
        scores: The scores.
        overall: The agreement over all pairs.
        by_distortion: The agreement over the pairs of each distortion.
        level: The probability that the intervals are meant to cover.
    """

    distances: np.ndarray
    scores: np.ndarray
    overall: Agreement
    by_distortion: Mapping[Any, Agreement]
    level: float

    def __str__(self) -> str:
        """Return a table in Markdown, with intervals in brackets."""
        lines = ["| distortion | pairs | SRCC | KRCC | PLCC |", "|---|---|---|---|---|"]
        for name, part in [("all", self.overall), *self.by_distortion.items()]:
            cells = [
                f"{x.value:.3f} [{x.low:.3f}, {x.high:.3f}]"
                for x in (part.srcc, part.krcc, part.plcc)
            ]
            lines.append(f"| {name} | {part.count} | {' | '.join(cells)} |")
        return "\n".join(lines)


@checked(num_resamples=STEPS, level=Real(above=0, below=1))
def evaluate(
    metric: Callable,
    pairs: Iterable[tuple[ArrayLike, ArrayLike]],
    scores: ArrayLike | Sequence[float],
    *,
    key: Key,
    distortions: Sequence[Any] | None = None,
    larger_is_better: bool = True,
    num_resamples: int = 1000,
    level: float = 0.95,
) -> Evaluation:
    """Compare a metric with what people said of pairs of images.

    The rank correlations (SRCC, KRCC) need no model of the scores. Before Pearson's correlation
    (PLCC), a logistic function of the distance is fitted to the scores by least squares, with four
    coefficients, as the Video Quality Experts Group recommends (final report, phase II, 2003). All
    three are 1 for a perfect distance.

    Args:
        metric: A distance, which is 0 for equal images. It is compiled once for each shape.
        pairs: Pairs of a reference and a distorted image. A generator keeps few in memory.
        scores: One score for each pair, such as the mean opinion score (MOS).
        key: The key of the bootstrap.
        distortions: The name or number of the distortion of each pair. By default there is no
            agreement by distortion.
        larger_is_better: Whether a larger score means a better image, as for MOS. False for
            differences of scores (DMOS).
        num_resamples: The number of samples of the pairs, drawn with replacement. The interval
            consists of quantiles of the correlations in them. Pairs with the same reference
            are drawn independently, so intervals do not say what other references would give.
            With 0 there are no intervals, and their ends are NaN.
        level: The probability that the intervals are meant to cover.

    Raises:
        ValueError: If the metric is a similarity, there are fewer than five pairs, the numbers of
            pairs, scores and distortions differ, or a score or a distance is not finite.
        TypeError: If the metric does not take two images, or the key is none.

    Example:
        >>> import jax, plenoptax as plx
        >>> brick = plx.data.brick()
        >>> noise = jax.random.normal(jax.random.key(0), brick.shape)
        >>> strengths = [0.01, 0.02, 0.03, 0.04, 0.05, 0.06]
        >>> pairs = [(brick, jax.numpy.clip(brick + s * noise, 0, 1)) for s in strengths]
        >>> found = evaluate(
        ...     plx.metric.ssim_distance, pairs, [5, 4, 3.5, 3, 2, 1], key=jax.random.key(0)
        ... )
        >>> print(f"{found.overall.srcc.value:.3f}")
        1.000
    """
    check_key(key)
    scores = np.asarray(scores, np.float64)
    distances = _measure(metric, pairs)
    _check(distances, scores, distortions)
    sign = 1 if larger_is_better else -1
    whole, *keys = jax.random.split(key, 1 + len(_names(distortions)))
    overall = _agree(distances, sign * scores, whole, num_resamples, level)
    parts = {}
    for name, one in zip(_names(distortions), keys, strict=True):
        chosen = np.array([other == name for other in distortions or ()])
        if chosen.sum() < _FEWEST:
            continue
        parts[name] = _agree(distances[chosen], sign * scores[chosen], one, num_resamples, level)
    return Evaluation(distances, scores, overall, parts, level)


# As many as the logistic function has coefficients, and one more.
_FEWEST = 5


def _names(distortions: Sequence[Any] | None) -> list[Any]:
    return list(dict.fromkeys(distortions)) if distortions is not None else []


def _measure(metric: Callable, pairs: Iterable[tuple[ArrayLike, ArrayLike]]) -> np.ndarray:
    """Return the value of the metric for each pair, after a look at the metric itself."""
    compiled, distances = eqx.filter_jit(metric), []
    for reference, distorted in pairs:
        reference, distorted = (jax.numpy.asarray(x) for x in (reference, distorted))
        if not distances:
            validate_metric(metric, reference.shape, reference.dtype)
        # Of the device, so that it works while the next image is loaded.
        distances.append(compiled(reference, distorted))
    return np.array([float(distance) for distance in distances], np.float64)


def _check(distances: np.ndarray, scores: np.ndarray, distortions: Sequence[Any] | None) -> None:
    count = len(distances)
    if count < _FEWEST:
        raise ValueError(f"There must be at least {_FEWEST} pairs, got {count}. Give more.")
    if scores.shape != (count,):
        raise ValueError(
            f"scores must have one number for each pair, got the shape {scores.shape} for {count} "
            "pairs. Put scores and pairs into the same order."
        )
    if distortions is not None and len(distortions) != count:
        raise ValueError(
            f"distortions must have one entry for each pair, got {len(distortions)} for {count} "
            "pairs."
        )
    for name, values in (("scores", scores), ("The distances of the pairs", distances)):
        if not np.isfinite(values).all():
            first = int(np.flatnonzero(~np.isfinite(values))[0])
            raise ValueError(
                f"{name} must be finite, got {values[first]} for pair {first}. Leave the pair out."
            )


def _agree(
    distances: np.ndarray, scores: np.ndarray, key: Key, num_resamples: int, level: float
) -> Agreement:
    """Correlate with scores of which larger ones are better, so with the negative distances."""
    count = len(distances)
    coefficients = fit_logistic(distances[None], scores[None])
    draws = np.asarray(jax.random.randint(key, (num_resamples, count), 0, count))
    # Parts that fit into the processor's cache, more or less.
    blocks = np.array_split(draws, max(1, draws.size // 2**18))

    def estimate(correlate: Callable) -> Estimate:
        value = float(correlate(distances[None], scores[None])[0])
        if not num_resamples:
            return Estimate(value, np.nan, np.nan)
        samples = np.concatenate([correlate(distances[i], scores[i]) for i in blocks])
        # A sample of equal values has no correlation.
        samples = samples[np.isfinite(samples)]
        if not len(samples):
            return Estimate(value, np.nan, np.nan)
        low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
        return Estimate(value, float(low), float(high))

    def fitted(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return pearson(logistic(fit_logistic(x, y, coefficients), x), y)

    return Agreement(
        count,
        estimate(lambda x, y: spearman(-x, y)),
        estimate(lambda x, y: kendall(-x, y)),
        estimate(fitted),
        tuple(coefficients[0].tolist()),
    )
