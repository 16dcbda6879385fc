"""Metamers of each model, judged by every model."""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._compiled import call_compiled
from .._rules import check_key
from .._types import Key
from ..data import spectral_noise
from ._judge import find_pairs, measure_z_errors
from ._null import as_null, flatten, Null
from ._result import Result


_START, _NOISE, _OTHER, _TARGET = "starting noise", "spectral noise", "unrelated", "target"


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class CrossTable:
    """How similar each model finds the metamers of each model to their targets.

    ``print(table)`` shows the percentiles, and `plenoptax.plot.cross_table` draws them.

    Attributes:
        percentiles: By row and column, for each image the percentage of pairs of unrelated images
            that the model of the column finds less similar than image and target: 100 is closer
            than any of the pairs. NaN off the diagonal for images that are no metamer of their own
            model. The rows are the models of the metamers, then ``"starting noise"``,
            ``"spectral noise"`` (noise with the amplitude spectrum of the target),
            ``"unrelated"`` (another photograph) and ``"target"``.
        z_errors: The z errors that the percentiles rank: the root mean square differences between
            the representations of image and target, in units of standard deviations over the null.
        success: By model, whether each of its images is a metamer by its own null; None if this is
            unknown.
        nulls: The null of each column, in words.
    """

    percentiles: dict[str, dict[str, Float[np.ndarray, " image"]]]
    z_errors: dict[str, dict[str, Float[np.ndarray, " image"]]]
    success: dict[str, tuple[bool | None, ...]]
    nulls: dict[str, str]

    def __str__(self) -> str:
        columns = list(self.nulls)
        width = max(map(len, ["metamers of", *self.percentiles]))
        wide = max(22, *map(len, columns))
        lines = ["percentile of similarity: median (lowest to highest) over images"]
        lines.append(f"{'metamers of':{width}}" + "".join(f"  {name:>{wide}}" for name in columns))
        for row, cells in self.percentiles.items():
            texts = [f"  {_in_words(cells[name]):>{wide}}" for name in columns]
            failed = sum(one is False for one in self.success.get(row, ()))
            mark = f"  {failed} of {len(self.success[row])} FAIL" if failed else ""
            lines.append(f"{row:{width}}" + "".join(texts) + mark)
        lines += ["", *(f"null of {name}: {text}" for name, text in self.nulls.items())]
        return "\n".join(lines)

    def __repr__(self) -> str:
        return f"CrossTable({len(self.percentiles)} rows, {len(self.nulls)} models)"


def compare(
    metamers: Mapping[str, Result | Sequence[Result]],
    models: Mapping[str, Callable],
    nulls: Mapping[str, Null],
    *,
    unrelated: Float[Array, "*shape"],
    key: Key,
) -> CrossTable:
    """Judge metamers of each model by every model.

    If model B finds the metamers of model A as similar to their targets as A does, then B discards
    what A discards. If it finds them no more similar than unrelated images, B sees what A does not.
    Each model compares in its own representation with its own null, because losses of different
    models have no common unit.

    Args:
        metamers: For each model, by name, its metamers: a result, a batch of results, or a list of
            them, such as several seeds of several targets. All models must have the same targets.
        models: The models that judge, by name: those of the metamers, and others if you like.
        nulls: The null of each model, by name; see `plenoptax.null`.
        unrelated: A photograph that is not a target, as a baseline.
        key: Draws the two kinds of noise.

    Returns:
        The table.

    Raises:
        ValueError: If a model of the metamers does not judge, a null is missing or does not fit, or
            the targets differ in size or number.

    References:
        Feather et al. (2023), Nature Neuroscience 26, 2017-2034, judge metamers of networks by
        other networks.

    Example:
        >>> import jax, plenoptax as plx
        >>> image, other = plx.data.brick()[:, :32, :32], plx.data.grass()[:, :32, :32]
        >>> models = {"blur": plx.models.Gaussian(7), "pixels": plx.models.Identity()}
        >>> images = jax.random.uniform(jax.random.key(0), (8, 1, 32, 32))
        >>> nulls = {name: plx.null(images, model) for name, model in models.items()}
        >>> result = plx.metamer(
        ...     image, models["blur"], key=jax.random.key(0), max_steps=200, progress=False
        ... )
        >>> table = plx.compare(
        ...     {"blur": result}, models, nulls, unrelated=other, key=jax.random.key(1)
        ... )
        >>> float(table.percentiles["target"]["pixels"][0])
        100.0
    """
    check_key(key)
    results = {name: _elements(found) for name, found in metamers.items()}
    _check_names(results, models, nulls)
    targets_of = {name: _find_targets(name, row) for name, row in results.items()}
    _check_targets(targets_of)
    first, targets = next(iter(results.values())), next(iter(targets_of.values()))
    keys = jax.random.split(key, len(first))
    starts = [one.problem.posed.initial_image(k) for one, k in zip(first, keys, strict=True)]
    keys = jax.random.split(jax.random.fold_in(key, 1), len(first))
    noises = [spectral_noise(one, key=k) for one, k in zip(targets, keys, strict=True)]
    rows = {name: ([one.image for one in row], targets_of[name]) for name, row in results.items()}
    rows |= {
        _START: (starts, targets),
        _NOISE: (noises, targets),
        _OTHER: ([jnp.asarray(unrelated)] * len(targets), targets),
        _TARGET: (targets, targets),
    }
    success = {
        name: tuple(one.report(null=nulls[name]).success for one in row)
        for name, row in results.items()
    }
    errors: dict[str, dict[str, np.ndarray]] = {row: {} for row in rows}
    ranks: dict[str, dict[str, np.ndarray]] = {row: {} for row in rows}
    for name, model in models.items():
        null = as_null(nulls[name], model, call_compiled(model, targets[0]))
        found = _measure_rows(model, null, rows)
        varying = null.z_scores[:, null.standard_deviation > 0]
        between = measure_z_errors(varying)[find_pairs(null.sources)]
        for row, error in found.items():
            if row != name and row in success:
                error[[one is False for one in success[row]]] = np.nan
            rank = 100 * np.mean(between[None] > error[:, None], axis=1)
            errors[row][name], ranks[row][name] = error, np.where(np.isnan(error), np.nan, rank)
    return CrossTable(ranks, errors, success, {name: str(nulls[name]) for name in models})


def _elements(found: Result | Sequence[Result]) -> list[Result]:
    results: Iterable[Result] = [found] if isinstance(found, Result) else found
    return [element for result in results for element in result.elements]


def _check_names(
    metamers: Mapping[str, list[Result]], models: Mapping[str, Callable], nulls: Mapping[str, Null]
) -> None:
    for what, names in (("models", models), ("nulls", nulls)):
        missing = [name for name in {**metamers, **models} if name not in names]
        if missing:
            raise ValueError(
                f"{what} must have an entry for each model, got none for {', '.join(missing)}. "
                "Give the same names to metamers, models and nulls."
            )
    reserved = {_START, _NOISE, _OTHER, _TARGET} & set(metamers)
    if reserved or not metamers:
        raise ValueError(
            "metamers must have at least one model, with a name that is no other row, got "
            f"{sorted(reserved) or 'none'}. Choose another name."
        )


def _find_targets(name: str, row: list[Result]) -> list[Array]:
    images = [getattr(one.problem, "image", None) for one in row]
    targets = [image for image in images if image is not None]
    if not row or len(targets) < len(row):
        raise ValueError(
            f"The metamers of {name} must each have a target image, got {len(row)} results, "
            f"{len(row) - len(targets)} without one. Use plenoptax.metamer."
        )
    return targets


def _check_targets(targets_of: Mapping[str, list[Array]]) -> None:
    """Refuse rows that do not belong to the same targets."""
    found = {
        name: {np.asarray(one).tobytes(): one.shape for one in targets}
        for name, targets in targets_of.items()
    }
    first, *others = found
    for name in others:
        if found[name] != found[first]:
            one, other = (f"{len(found[n])} of {set(found[n].values())}" for n in (first, name))
            raise ValueError(
                f"All metamers must have the same targets, got {one} for {first}, and others, "
                f"{other}, for {name}. Synthesize metamers of the same images."
            )


def _measure_rows(
    model: Callable, null: Null, rows: Mapping[str, tuple[list[Array], list[Array]]]
) -> dict[str, Float[np.ndarray, " image"]]:
    """Return the z errors of the pairs of images of each row; each image is evaluated once."""
    known: dict[int, np.ndarray] = {}

    def respond(image: Array) -> np.ndarray:
        if id(image) not in known:
            known[id(image)] = flatten(call_compiled(model, image))
        return known[id(image)]

    varies = null.standard_deviation > 0
    unit = null.standard_deviation[varies]
    return {
        row: np.asarray(
            [
                np.sqrt(np.mean(((respond(a) - respond(b))[varies] / unit) ** 2))
                for a, b in zip(*pairs, strict=True)
            ]
        )
        for row, pairs in rows.items()
    }


def _in_words(values: Float[np.ndarray, " image"]) -> str:
    known = values[~np.isnan(values)]
    if not known.size:
        return "-"
    return f"{np.median(known):.1f} ({known.min():.1f} to {known.max():.1f})"
