"""Whether two representations are those of the same image, as far as the model can tell."""

import dataclasses
from collections.abc import Callable

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from .._answers import answer
from .._compiled import call_compiled
from .._tree import flatten_real
from .._types import PyTree
from ..data import NaturalStatistics


# A correlation over fewer numbers says little.
_SMALLEST_GROUP = 16


@dataclasses.dataclass(frozen=True)
class Group:
    """How well one group of a representation was matched.

    Attributes:
        size: How many numbers it has, without those that no image of the null changes.
        relative_error: The norm of the difference over that of the target.
        z_error: The root mean square of the difference in units of standard deviations over other
            images; NaN if these are not known.
        correlation: Pearson's, of the z-scores of synthesis and target; NaN as above.
        rank_correlation: Spearman's, of the same.
        null_z_error: The smallest z error between two unrelated images; NaN as above.
        null_correlation: The largest correlation between two unrelated images.
        null_rank_correlation: The largest rank correlation between two unrelated images.
    """

    size: int
    relative_error: float
    z_error: float
    correlation: float
    rank_correlation: float
    null_z_error: float
    null_correlation: float
    null_rank_correlation: float

    @property
    def passes(self) -> bool | None:
        """Whether it beats every pair of unrelated images; None where it is not judged.

        In all three measures: a correlation does not tell how far apart two images are, and in a
        group that varies along few directions it is high soon.
        """
        if self.size < _SMALLEST_GROUP or np.isnan(self.null_correlation):
            return None
        return bool(
            self.z_error < self.null_z_error
            and self.correlation > self.null_correlation
            and self.rank_correlation > self.null_rank_correlation
        )


@dataclasses.dataclass(frozen=True)
class Null:
    """Representations of images that have nothing to do with each other.

    Attributes:
        mean: Over images.
        standard_deviation: Over images.
        z_scores: Of some of them.
        sources: Which photograph each is from: only pairs of different ones are unrelated.
        name: What they are, for a reader.
    """

    mean: Float[np.ndarray, " number"]
    standard_deviation: Float[np.ndarray, " number"]
    z_scores: Float[np.ndarray, "image number"]
    sources: Int[np.ndarray, " image"]
    name: str


def null_of(
    model: Callable, images: Float[Array, "image *shape"] | None, target: PyTree
) -> Null | None:
    """The null of a model: from the user's images, else (weaker) its ``null_statistics``.

    Args:
        model: The model.
        images: The user's images.
        target: The representation that is to be compared with those of the null.

    Returns:
        None if there are no images, and the model has no null, or one of another size than the
        target, as for an image of several channels.

    Raises:
        ValueError: If there are fewer than 8 images, or their representations are of another size
            than the target.
    """
    if images is not None:
        if len(images) < 8:
            raise ValueError(
                f"A null needs at least 8 unrelated images, better hundreds; got {len(images)}."
            )
        responses = (call_compiled(model, image) for image in images)
        rows = np.stack([_flatten(response) for response in responses])
        if rows.shape[1] != _flatten(target).size:
            raise ValueError(
                f"The model gives {rows.shape[1]} numbers for each of the null_images, of shape "
                f"{images.shape[1:]}, but {_flatten(target).size} for the target: give images with "
                "as many channels as the target."
            )
        mean, deviation = rows.mean(0), rows.std(0, ddof=1)
        z_scores = (rows - mean) / np.where(deviation > 0, deviation, 1)
        name = f"{len(images)} images of yours"
        return Null(mean, deviation, z_scores, np.arange(len(rows)), name)
    own = _own_null(model)
    if own is None or own.mean.size != _flatten(target).size:
        return None
    name = (
        f"weak: {len(own.z_scores)} windows of {own.sources.max() + 1} photographs; "
        "give null_images= of your own"
    )
    return Null(own.mean, own.standard_deviation, own.z_scores, own.sources, name)


def say_no_null(model: Callable, target: PyTree) -> str:
    """Why `null_of` returns nothing without images of the user, and what to do."""
    own = _own_null(model)
    num_channels, rest = divmod(_flatten(target).size, 1 if own is None else own.mean.size)
    if own is None or num_channels < 2 or rest:
        return "no null of unrelated images to compare with (report(null_images=...))"
    return (
        f"the model measures each of the {num_channels} channels alone, and the null is of gray "
        "photographs (report(null_images=...) with images of as many channels judges it)"
    )


def judge(
    model: Callable, synthesized: PyTree, target: PyTree, null: Null | None
) -> dict[str, Group]:
    """Compare two representations, group by group.

    Args:
        model: Its ``statistic_groups`` say what the groups are; otherwise each leaf of the
            representation is one.
        synthesized: The representation of the synthesized image.
        target: That of the target.
        null: What to compare their likeness with, if anything.

    References:
        Feather, Leclerc, Madry and McDermott (2023), Model metamers reveal divergent invariances
        between biological and artificial neural networks, Nature Neuroscience 26, 2017-2034: both
        correlations and a ratio of signal to error, against pairs of unrelated images.
    """
    x, y = _flatten(synthesized), _flatten(target)
    labels = _labels(model, target)
    groups = {}
    for name in dict.fromkeys(labels):
        members = labels == name
        a, b = x[members], y[members]
        scale = float(np.linalg.norm(b))
        error = float(np.linalg.norm(a - b)) / scale if scale > 0 else float(np.linalg.norm(a))
        size, likeness, closest = members.sum(), (np.nan,) * 3, (np.nan,) * 3
        if null is not None:
            mean, deviation, z_scores = (
                null_part[..., members]
                for null_part in (null.mean, null.standard_deviation, null.z_scores)
            )
            varies = deviation > 0
            a, b = ((c - mean)[varies] / deviation[varies] for c in (a, b))
            z_error = float(np.sqrt(np.mean((a - b) ** 2))) if a.size else 0.0
            size, ranks = a.size, _ranks(np.stack([a, b]))
            likeness = z_error, correlate(a, b), correlate(*ranks)
            closest = _closest(z_scores[:, varies], null.sources)
        groups[str(name)] = Group(int(size), error, *likeness, *closest)
    return groups


def verdict(groups: dict[str, Group]) -> bool | None:
    """Whether every group that is judged passes; None if none is."""
    judged = [group.passes for group in groups.values() if group.passes is not None]
    return all(judged) if judged else None


def _own_null(model: Callable) -> NaturalStatistics | None:
    return answer(model, "null_statistics", lambda: None)()


def _flatten(representation: PyTree) -> np.ndarray:
    return np.asarray(flatten_real(representation, jax.numpy.result_type(float)), np.float64)


def _labels(model: Callable, representation: PyTree) -> np.ndarray:
    """The name of the group of each number of a flattened representation."""
    names = answer(model, "statistic_groups")
    leaves = jax.tree_util.tree_leaves_with_path(representation)
    if names is not None and len(leaves) == 1 and leaves[0][1].shape[-1] == len(names):
        return np.tile(np.asarray(names), leaves[0][1].size // len(names))
    labels = []
    for path, leaf in leaves:
        size = leaf.size * (2 if jax.numpy.iscomplexobj(leaf) else 1)
        labels += [jax.tree_util.keystr(path) or "representation"] * size
    return np.asarray(labels)


def correlate(a: np.ndarray, b: np.ndarray) -> float:
    """Pearson's correlation of two vectors; NaN if one is constant."""
    if a.size < 2 or np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(a, b)[0, 1])


def _ranks(rows: Float[np.ndarray, "row number"]) -> Float[np.ndarray, "row number"]:
    """Twice the rank of each number in its row; equal numbers share the mean of theirs."""
    pairs = zip(np.sort(rows), rows, strict=True)
    found = [
        ordered.searchsorted(row) + ordered.searchsorted(row, "right") for ordered, row in pairs
    ]
    return np.asarray(found, np.float64)


def _closest(z_scores: np.ndarray, sources: np.ndarray) -> tuple[float, float, float]:
    """The smallest z error between two unrelated images, and the largest of either correlation."""
    unrelated = sources[:, None] != sources[None, :]
    if z_scores.shape[1] < 2 or not unrelated.any():
        return float("nan"), float("nan"), float("nan")
    squares = np.sum(z_scores**2, axis=1)
    squared = squares[:, None] + squares[None] - 2 * z_scores @ z_scores.T
    nearest = np.sqrt(max(squared[unrelated].min(), 0) / z_scores.shape[1])
    pearson = _largest_correlation(z_scores, unrelated)
    spearman = _largest_correlation(_ranks(z_scores), unrelated)
    return float(nearest), pearson, spearman


def _largest_correlation(rows: np.ndarray, unrelated: np.ndarray) -> float:
    centered = rows - rows.mean(1, keepdims=True)
    norms = np.linalg.norm(centered, axis=1, keepdims=True)
    centered = centered / np.where(norms > 0, norms, 1)
    return float((centered @ centered.T)[unrelated].max())
