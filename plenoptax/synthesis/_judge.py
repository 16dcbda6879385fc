"""Test of whether a model can distinguish two images by their representations."""

import dataclasses
from collections.abc import Callable, Mapping
from itertools import combinations
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from .._answers import answer
from .._compiled import call_compiled
from .._tree import name_leaf
from .._types import PyTree
from ._null import flatten, Null


# A correlation over fewer values is not informative.
_SMALLEST_GROUP = 16

# Of the similarities of pairs, printed beside their extreme, which one odd pair can set.
_QUANTILE = 0.999

# The noise floor is the range of the 28 distances between them.
_NUM_SETS_OF_KEYS = 8


class Likeness(NamedTuple):
    """How similar two representations are; NaN for a measure that is not used, or without a null.

    Measures of z-scores are the first three; of the responses of networks, the last three.
    """

    z_error: float = float("nan")
    correlation: float = float("nan")
    rank_correlation: float = float("nan")
    signal_to_noise: float = float("nan")


@dataclasses.dataclass(frozen=True)
class Group:
    """The match of one group of a representation.

    By default, z-scores are compared: values minus their mean over the null images, in units of
    their standard deviation. If the model has ``compares_raw``, as the layers of networks have, the
    values themselves are compared, and the signal-to-noise ratio replaces the z error.

    Attributes:
        size: The number of values in it; of z-scores, without those that are constant over the null
            images.
        relative_error: The norm of the difference over that of the target.
        z_error: The z error: the root mean square difference of the z-scores; NaN without a null,
            or if values themselves are compared.
        correlation: Pearson's correlation of synthesis and target; NaN without a null.
        rank_correlation: Spearman's correlation; NaN as above.
        null_z_error: The smallest z error between two unrelated images; NaN as above.
        null_correlation: The largest correlation between two unrelated images.
        null_rank_correlation: The largest rank correlation between two unrelated images.
        null_quantiles: The same bounds if one pair of unrelated images in a thousand, the most
            similar, is left out; NaN as above.
        percentile: The percentage of pairs of unrelated images that are less similar than synthesis
            and target, by the measure with the lowest percentage; NaN as above.
        signal_to_noise: The power of the target over that of the difference, in dB.
        null_signal_to_noise: The largest such ratio of two unrelated images; NaN if z-scores are
            compared, or without a null.
        compares_raw: Whether values are compared themselves.
    """

    size: int
    relative_error: float
    z_error: float
    correlation: float
    rank_correlation: float
    null_z_error: float
    null_correlation: float
    null_rank_correlation: float
    null_quantiles: Likeness = Likeness()
    percentile: float = float("nan")
    signal_to_noise: float = float("nan")
    null_signal_to_noise: float = float("nan")
    compares_raw: bool = False

    @property
    def passes(self) -> bool | None:
        """Whether it beats every pair of unrelated images; None if it is not judged.

        It must do so in all three measures. A correlation does not measure how far apart two images
        are, and it is high easily in a group that varies along few directions.
        """
        if self.size < _SMALLEST_GROUP or np.isnan(self.null_correlation):
            return None
        is_near = self.z_error < self.null_z_error
        if self.compares_raw:
            is_near = self.signal_to_noise > self.null_signal_to_noise
        return bool(
            is_near
            and self.correlation > self.null_correlation
            and self.rank_correlation > self.null_rank_correlation
        )


@dataclasses.dataclass(frozen=True)
class Noise:
    """The error of a stochastic model with fresh keys, and its noise floor.

    Attributes:
        error: The norm of the difference between the responses to the synthesized image and to the
            target, each with its own fresh keys, over the norm of the response to the target.
        floor: The smallest and the largest of such differences between two responses to the same
            image, with two sets of fresh keys.
    """

    error: float
    floor: tuple[float, float]

    @property
    def at_floor(self) -> bool:
        """Whether the error is no larger than noise alone makes it."""
        return self.error <= self.floor[1]


def measure_noise(
    model: Callable,
    image: Float[Array, "..."],
    original: Float[Array, "..."] | None,
    target: PyTree,
) -> tuple[PyTree, PyTree, Noise | None]:
    """Return the responses to judge, and the noise of a model that has ``with_fresh_keys``.

    Args:
        model: The model.
        image: The synthesized image.
        original: The image whose response is the target; None if the target is given otherwise.
        target: The response to match.

    Returns:
        The responses to the image and of the target: those with fresh keys, if the model has keys.
    """
    draw = answer(model, "with_fresh_keys")
    if draw is None:
        return call_compiled(model, image), target, None
    synthesized = call_compiled(draw(0), image)
    where = image if original is None else original
    responses = [call_compiled(draw(1 + i), where) for i in range(_NUM_SETS_OF_KEYS)]
    wanted = target if original is None else responses[0]
    scale = float(np.linalg.norm(flatten(wanted))) or 1.0

    def distance(a: PyTree, b: PyTree) -> float:
        return float(np.linalg.norm(flatten(a) - flatten(b))) / scale

    between = [distance(a, b) for a, b in combinations(responses, 2)]
    error = distance(synthesized, wanted)
    return synthesized, wanted, Noise(error, (min(between), max(between)))


def say_no_null(model: Callable, target: PyTree) -> str:
    """Explain why a model has no null of its own for a target, and what to do."""
    own = answer(model, "null_statistics", lambda: None)()
    num_channels, rest = divmod(flatten(target).size, 1 if own is None else own.mean.size)
    if own is None or num_channels < 2 or rest:
        return "no null of unrelated images to compare with (report(null=...))"
    return (
        f"the model measures each of the {num_channels} channels alone, and the null consists of "
        "gray photographs (give report(null=...) images with as many channels)"
    )


def judge(
    model: Callable, synthesized: PyTree, target: PyTree, null: Null | None
) -> dict[str, Group]:
    """Compare two representations, group by group.

    Args:
        model: The model. Its ``statistic_groups`` define the groups; without them, each array of
            the representation is a group. Its ``compares_raw`` says whether values themselves are
            compared; without it, z-scores are.
        synthesized: The representation of the synthesized image.
        target: The representation of the target.
        null: The baseline for their similarity, or None.

    References:
        Feather, Leclerc, Madry and McDermott (2023), Model metamers reveal divergent invariances
        between biological and artificial neural networks, Nature Neuroscience 26, 2017-2034: uses
        both correlations and the ratio of signal to noise of a layer's responses, compared with
        pairs of unrelated images. Their program prints half of the ratio in dB.
    """
    x, y = flatten(synthesized), flatten(target)
    labels = _labels(model, target)
    is_raw = bool(answer(model, "compares_raw", False))
    groups = {}
    for name in dict.fromkeys(labels):
        members = labels == name
        a, b = x[members], y[members]
        scale = float(np.linalg.norm(b))
        error = float(np.linalg.norm(a - b)) / scale if scale > 0 else float(np.linalg.norm(a))
        size, rows, sources = int(members.sum()), np.zeros((0, a.size)), np.zeros(0, int)
        if null is not None:
            sources, rows = null.sources, null.z_scores[:, members]
            mean, deviation = null.mean[members], null.standard_deviation[members]
            if is_raw:
                rows = mean + deviation * rows
            else:
                varies = deviation > 0
                rows, size = rows[:, varies], int(varies.sum())
                a, b = ((c - mean)[varies] / deviation[varies] for c in (a, b))
        ratio = float(_ratios(scale**2, scale**2 * error**2)) if scale > 0 else float("-inf")
        found = Likeness() if null is None else _compare(a, b, is_raw)
        most, usual, percentile = _rank(found, rows, sources, is_raw)
        groups[str(name)] = Group(
            size,
            error,
            *found[:3],
            *most[:3],
            usual,
            percentile,
            ratio,
            most.signal_to_noise,
            is_raw,
        )
    return groups


def verdict(groups: dict[str, Group], null: Null | None) -> bool | None:
    """Return the answer of the success test.

    Returns:
        False if a judged group fails, however small the null is. True if all judged groups pass and
        the null is large enough. None otherwise.
    """
    judged = [group.passes for group in groups.values() if group.passes is not None]
    if not all(judged):
        return False
    return True if judged and null is not None and null.is_large_enough else None


def _labels(model: Callable, representation: PyTree) -> np.ndarray:
    """Return the name of the group of each value of a flattened representation."""
    names = answer(model, "statistic_groups")
    leaves = jax.tree_util.tree_leaves_with_path(representation)
    by_leaf = isinstance(names, Mapping)
    labels = []
    for path, leaf in leaves:
        name = name_leaf(path)
        size = leaf.size * (2 if jax.numpy.iscomplexobj(leaf) else 1)
        own = names.get(name) if by_leaf else names if len(leaves) == 1 else None
        if own is None or leaf.shape[-1:] != (len(own),):
            labels += [name] * size
        else:
            prefix = f"{name}/" if by_leaf else ""
            labels += [f"{prefix}{group}" for group in own] * (size // len(own))
    return np.asarray(labels)


def correlate(a: np.ndarray, b: np.ndarray) -> float:
    """Return Pearson's correlation of two vectors; NaN if one is constant."""
    if a.size < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(rows: Float[np.ndarray, "row number"]) -> Float[np.ndarray, "row number"]:
    """Return twice the rank of each value in its row; equal values share their mean rank."""
    pairs = zip(np.sort(rows), rows, strict=True)
    found = [
        ordered.searchsorted(row) + ordered.searchsorted(row, "right") for ordered, row in pairs
    ]
    return np.asarray(found, np.float64)


def _compare(a: np.ndarray, b: np.ndarray, is_raw: bool) -> Likeness:
    """Return how similar two vectors are, the synthesized one first."""
    correlations = correlate(a, b), correlate(*_ranks(np.stack([a, b])))
    if is_raw:
        ratio = _ratios(np.sum(b**2), np.sum((a - b) ** 2))
        return Likeness(float("nan"), *correlations, float(ratio))
    return Likeness(float(np.sqrt(np.mean((a - b) ** 2))) if a.size else 0.0, *correlations)


def _rank(
    likeness: Likeness, rows: np.ndarray, sources: np.ndarray, is_raw: bool
) -> tuple[Likeness, Likeness, float]:
    """Return the extremes of unrelated images, their quantiles, and the percentile of a likeness.

    All are NaN without pairs of unrelated images.
    """
    pairs = find_pairs(sources)
    if rows.shape[1] < 2 or not pairs[0].size:
        return Likeness(), Likeness(), float("nan")
    errors = measure_z_errors(rows)[pairs]
    correlations = (_correlation_matrix(x)[pairs] for x in (rows, _ranks(rows)))
    # Larger is more similar in all measures.
    null = dict(zip(Likeness._fields, (-errors, *correlations), strict=False))
    if is_raw:
        power = np.sum(rows**2, axis=1)
        # Either of the two may be the target.
        larger = np.maximum(power[pairs[0]], power[pairs[1]])
        null["signal_to_noise"] = _ratios(larger, errors**2 * rows.shape[1])
        del null["z_error"]
    found = {**likeness._asdict(), "z_error": -likeness.z_error}
    shares = [float(np.mean(values < found[name])) for name, values in null.items()]
    bounds = []
    for share in (1, _QUANTILE):
        values = {name: float(np.quantile(one, share)) for name, one in null.items()}
        values["z_error"] = -values.get("z_error", float("nan"))
        bounds.append(Likeness(**values))
    return bounds[0], bounds[1], 100 * min(shares)


def _ratios(signal: Any, noise: Any) -> Any:
    """Return ratios of powers in dB; infinite without noise."""
    with np.errstate(divide="ignore"):
        return 10 * (np.log10(signal) - np.log10(noise))


def find_pairs(sources: Int[np.ndarray, " image"]) -> tuple[np.ndarray, np.ndarray]:
    """Return the indices of the first and of the second image of each pair of unrelated images."""
    first, second = np.nonzero(np.triu(sources[:, None] != sources[None, :]))
    return first, second


def measure_z_errors(
    z_scores: Float[np.ndarray, "image number"],
) -> Float[np.ndarray, "image image"]:
    """Return the root mean square differences between the z-scores of images."""
    squares = np.sum(z_scores**2, axis=1)
    squared = squares[:, None] + squares[None] - 2 * z_scores @ z_scores.T
    return np.sqrt(np.maximum(squared, 0) / z_scores.shape[1])


def _correlation_matrix(rows: np.ndarray) -> np.ndarray:
    centered = rows - rows.mean(1, keepdims=True)
    norms = np.linalg.norm(centered, axis=1, keepdims=True)
    centered = centered / np.where(norms > 0, norms, 1)
    return centered @ centered.T
