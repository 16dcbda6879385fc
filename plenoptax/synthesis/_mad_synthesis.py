import dataclasses
import functools as ft
import os
import warnings
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.core import Tracer
from jaxtyping import Array, ArrayLike

from .._placement import one_copy, place_like, spread_over
from .._rules import checked, COUNT, POSITIVE, STEPS
from .._types import Key, Scalar
from ..parametrize import AbstractParametrization
from ..regularize import penalize_range
from ..solve import (
    AnyOptimizer,
    AnyProblem,
    Checkpoint,
    Record,
    Solver,
    Status,
)
from ..solve import batch as make_batch
from ..stop import Never
from ..validate import validate_input
from ._entry import default_optimizer, get_image, pose_all, synthesize_problem
from ._mad import check_within_pixels, MADCompetition
from ._problem import as_targets
from ._result import Result


# More steps than a run can take, so that only the image before the first step is kept.
_ONCE = 2**31 - 1


class MADImages(NamedTuple):
    """The four results of `mad_competition_set`, in the order of the plots."""

    metric1_min: Result
    metric2_min: Result
    metric1_max: Result
    metric2_max: Result

    def __repr__(self) -> str:
        """One line for each result."""
        lines = [f"  {name}={result}," for name, result in self._asdict().items()]
        return "\n".join(["MADImages(", *lines, ")"])


@checked(max_steps=STEPS, num_seeds=COUNT, batch_size=COUNT)
def mad_competition(
    image: Array,
    optimized_metric: Callable,
    reference_metric: Callable,
    minmax: Literal["min", "max"],
    metric_tradeoff_lambda: float | Scalar | Literal["auto"] | None = None,
    penalty_function: Callable = penalize_range,
    penalty_lambda: float | Scalar | Callable = 0.1,
    *,
    key: Key | None = None,
    initial_image: Array | Result | None = None,
    initial_noise: float | Scalar = 0.1,
    reference_value: float | Scalar | None = None,
    optimizer: AnyOptimizer | None = None,
    solver: Solver | None = None,
    max_steps: int = 500,
    record: Record | int | None = None,
    progress: bool = True,
    checkpoint: Checkpoint | str | os.PathLike | None = None,
    parametrization: AbstractParametrization | None = None,
    batch: bool = False,
    num_seeds: int | None = None,
    batch_size: int | None = None,
) -> Result:
    """Maximize or minimize one metric while holding another fixed.

    Args:
        image: The image to compare with; with `batch` one extra leading axis.
        optimized_metric: The metric to minimize or maximize, a function from two images to a
            scalar; see `MADCompetition`.
        reference_metric: The metric to hold fixed, another such function.
        minmax: Whether to minimize (``"min"``) or maximize (``"max"``) the optimized metric.
        metric_tradeoff_lambda: The weight of a penalty that holds the reference metric, or
            ``"auto"``; by default a constraint holds it. See `MADCompetition`.
        penalty_function: A function from an image to a scalar; see `MADCompetition`.
        penalty_lambda: The weight of the penalty, or its schedule; see `MADCompetition`.
        key: Draws the starting noise; give this or `initial_image`.
        initial_image: The image to start from, any except `image` itself, or an earlier result. The
            reference metric is held at its value there, unless `reference_value` is given.
        initial_noise: The standard deviation of the starting noise, before its adjustment.
        reference_value: The value at which to hold the reference metric; see `MADCompetition`.
        optimizer: Any optax transformation, with the default stop rule of `Solver`, which is not
            made for losses as small as a mean squared error. By default, a constraint uses Adam
            without a stop rule, with a learning rate that falls from 0.01 to 0 over `max_steps` and
            a short memory of the squared gradient (0.9); a penalty uses Adam with amsgrad and a
            learning rate of 0.01.
        solver: An optimizer with a stop rule of your own, instead of `optimizer`.
        max_steps: The maximum number of steps. The largest squared error that a structural
            similarity allows takes 1000 to 2000, most others fewer than 500; check the term
            ``"optimality"``. The default learning rate depends on `max_steps`, so a checkpoint
            cannot be continued with another `max_steps` unless you give an optimizer.
        record: Which images to keep; see `Record`. The image to start from is always kept.
        progress: Whether to show a progress bar.
        checkpoint: A file to save to while running, and to continue from if it exists; see
            `metamer`.
        parametrization: The variables that the optimizer moves; see `MADCompetition`.
        batch: Whether the first axis of `image` indexes images, each with its own competition.
        num_seeds: The number of images to synthesize, each from its own start.
        batch_size: The largest number of elements that are computed at once. A larger batch is run
            in slices, one after another; the result is the same, and its state is on the host.

    Returns:
        The result; for a batch (`batch` or `num_seeds`) ``result[i]`` is the result of one element.
        Its ``trace.terms`` have the metrics at each step.

    Raises:
        NonfiniteError: If the objective was not finite; its `result` keeps everything.
        ValueError: If arguments contradict each other, or do not fit the metrics.
        TypeError: If an argument is of the wrong kind.

    Warns:
        UserWarning: If the reference metric ends more than 1 % off the value of its constraint.

    Example:
        >>> import jax, plenoptax as plx
        >>> result = plx.mad_competition(
        ...     plx.data.brick()[:, :32, :32],
        ...     plx.metric.ssim_distance,
        ...     plx.metric.mse,
        ...     "max",
        ...     key=jax.random.key(0),
        ...     max_steps=3,
        ...     progress=False,
        ... )
        >>> held = result.trace.terms["reference_metric"]
        >>> bool(abs(held / held[0] - 1).max() < 1e-3)
        True
    """

    def pose(image: Array) -> MADCompetition:
        return MADCompetition(
            image,
            optimized_metric,
            reference_metric,
            minmax,
            metric_tradeoff_lambda,
            penalty_function,
            penalty_lambda,
            reference_value=reference_value,
            initial_noise=initial_noise,
            parametrization=parametrization,
        )

    image = as_targets(image, penalty_function, penalty_lambda, batch=batch)
    _check_box(image, metric_tradeoff_lambda, parametrization, batch=batch)
    held_at = initial_image if reference_value is None else None
    result = synthesize_problem(
        _pose_held(pose, image, held_at, batch=batch, num_seeds=num_seeds),
        image,
        default_solver=lambda: _default_solver(optimized_metric, metric_tradeoff_lambda, max_steps),
        key=key,
        initial_image=initial_image,
        optimizer=optimizer,
        solver=solver,
        max_steps=max_steps,
        record=_keep_start(record),
        progress=progress,
        checkpoint=checkpoint,
        batch_size=batch_size,
    )
    return _warned_of_lost(result)


def _keep_start(record: Record | int | None) -> Record:
    """Return a record that keeps the initial image, one of the six images of the figure."""
    kept = record if isinstance(record, Record) else Record(every=0 if record is None else record)
    return kept if kept.every else dataclasses.replace(kept, every=_ONCE)


def _warned_of_lost(result: Result) -> Result:
    """Return the result; warn if its constraint was not met (perhaps no image can meet it)."""
    for index, trace in enumerate(result.trace.elements):
        problem: Any = result.problem.element(index, None)[0]
        if problem.metric_tradeoff_lambda is not None:
            break
        found = jnp.asarray(trace.terms["reference_metric"][-1])
        if not problem.is_met({"reference_metric": found}):
            wanted = problem.reference_value
            warnings.warn(
                f"The reference metric was to be held at {wanted:.4g}, but ended at {found:.4g}: "
                "the image is not valid for a competition. Perhaps no image within the box has "
                "this value. Give another reference_value.",
                UserWarning,
                stacklevel=3,
            )
            break
    return result


def _held_as_at(problem: MADCompetition, start: Array) -> MADCompetition:
    """Return the problem with the reference metric held at its value at an image."""
    held = problem.evaluate_reference(start).astype(problem.image.dtype)
    if not isinstance(held, Tracer) and held == 0:
        raise ValueError(
            "reference_metric must not be 0 at initial_image, got 0, a value that only the target "
            "has. Start from another image, or give key= for noise."
        )
    return eqx.tree_at(lambda p: p.reference_value, problem, held)


@checked(max_steps=STEPS, initial_noise=POSITIVE, num_seeds=COUNT, batch_size=COUNT)
def mad_competition_set(
    image: Array,
    metric_1: Callable,
    metric_2: Callable,
    *,
    key: Key | None = None,
    initial_image: Array | Result | None = None,
    initial_noise: float | Scalar = 0.1,
    optimizer: AnyOptimizer | None = None,
    solver: Solver | None = None,
    max_steps: int = 500,
    record: Record | int | None = None,
    progress: bool = True,
    metric_tradeoff_lambda: float | Scalar | Literal["auto"] | None = None,
    penalty_function: Callable = penalize_range,
    penalty_lambda: float | Scalar | Callable = 0.1,
    parametrization: AbstractParametrization | None = None,
    batch: bool = False,
    num_seeds: int | None = None,
    batch_size: int | None = None,
) -> MADImages:
    """Synthesize the four images of two metrics: each minimized and maximized, the other held.

    All four start from one image, and hold the metrics at their values there. In a batch, each
    element has its own such image.

    Args:
        image: The image to compare with; with `batch` one extra leading axis.
        metric_1: A function from two images, `image` first, to a scalar; 0 for equal images.
        metric_2: Another such function.
        key: Draws normal noise, which is added to `image`; give this or `initial_image`. A batch
            splits it into one key per element.
        initial_image: The image to start from instead; in a batch one for all elements, or one for
            each along a leading axis.
        initial_noise: The standard deviation of the noise.
        optimizer: Any optax transformation; see `mad_competition` for the default.
        solver: An optimizer with a stop rule of your own, instead of `optimizer`.
        max_steps: The maximum number of steps; see `mad_competition`.
        record: Which images to keep; see `Record`. The initial image is always kept.
        progress: Whether to show a progress bar.
        metric_tradeoff_lambda: The weight of a penalty that holds the other metric; see
            `MADCompetition`. One weight rarely suits both metrics, so a constraint is the default
            here too.
        penalty_function: A function from an image to a scalar; see `MADCompetition`.
        penalty_lambda: The weight of the penalty, or its schedule; see `MADCompetition`.
        parametrization: The variables that the optimizer moves; see `MADCompetition`.
        batch: Whether the first axis of `image` indexes images, each with its own set.
        num_seeds: The number of sets to synthesize for one image, each from its own start.
        batch_size: The largest number of elements that are computed at once; see
            `mad_competition`.

    Returns:
        A named tuple of four results: ``metric1_min`` (the first metric minimized, the second
        held), ``metric2_min``, ``metric1_max`` and ``metric2_max``. For a batch, ``[result[i] for
        result in images]`` is the set of one element.

    Raises:
        ValueError: If arguments contradict each other, or do not fit the metrics; or if a metric is
            0 at the initial image of a set.
        TypeError: If an argument is of the wrong kind.

    Example:
        >>> import jax, matplotlib.pyplot as plt, plenoptax as plx
        >>> images = plx.mad_competition_set(
        ...     plx.data.brick()[:, :32, :32],
        ...     plx.metric.ssim_distance,
        ...     plx.metric.mse,
        ...     key=jax.random.key(0),
        ...     max_steps=3,
        ...     progress=False,
        ... )
        >>> images.metric1_max.image.shape
        (1, 32, 32)
        >>> figure = plx.plot.mad_imshow_all(*images)
        >>> [axes.get_title().splitlines()[0] for axes in figure.axes][1:3]
        ['Best ssim_distance', 'Best mse']
        >>> plt.close(figure)
    """
    image = as_targets(image, penalty_function, penalty_lambda, batch=batch)
    _check_box(image, metric_tradeoff_lambda, parametrization, batch=batch)
    start = _common_start(image, key, initial_image, initial_noise, batch, num_seeds)
    make = ft.partial(
        MADCompetition,
        metric_tradeoff_lambda=metric_tradeoff_lambda,
        penalty_function=penalty_function,
        penalty_lambda=penalty_lambda,
        parametrization=parametrization,
    )

    def pose(optimized: Callable, reference: Callable, minmax: str) -> AnyProblem:
        named = {"optimized_metric": optimized, "reference_metric": reference, "minmax": minmax}
        return _pose_held(ft.partial(make, **named), image, start, batch=batch, num_seeds=num_seeds)

    def synthesize(problem: Any, steps: int) -> Result:
        metric = problem.posed.optimized_metric
        return synthesize_problem(
            problem,
            image,
            default_solver=lambda: _default_solver(metric, metric_tradeoff_lambda, max_steps),
            initial_image=start,
            optimizer=optimizer,
            solver=solver,
            max_steps=steps,
            record=_keep_start(record),
            progress=progress,
            batch_size=batch_size,
        )

    pairs = (metric_1, metric_2), (metric_2, metric_1)
    if not batch and num_seeds is None:
        both = [_with_both_signs(pose(*pair, "min")) for pair in pairs]
        found = _until_interrupted(synthesize, both, max_steps)
        return MADImages(*(result[sign] for sign in (0, 1) for result in found))
    problems = [pose(*pair, minmax) for minmax in ("min", "max") for pair in pairs]
    return MADImages(*_until_interrupted(synthesize, problems, max_steps))


def _check_box(
    images: Array, metric_tradeoff_lambda: Any, parametrization: Any, *, batch: bool
) -> None:
    """Raise an error if a constraint cannot keep a batch in the box; a problem checks one image."""
    if batch and metric_tradeoff_lambda is None and parametrization is None:
        check_within_pixels(images)


def _with_both_signs(problem: Any) -> AnyProblem:
    """Return as one batch the problems of the minimum and of the maximum of a metric."""
    signs = jnp.asarray([1, -1], problem.sign.dtype)
    return make_batch(lambda sign: eqx.tree_at(lambda p: p.sign, problem, sign), signs)


def _until_interrupted(
    synthesize: Callable[[AnyProblem, int], Result], problems: list[AnyProblem], max_steps: int
) -> list[Result]:
    """Synthesize one after another; Ctrl-C ends all, and those that have begun are kept."""
    results: list[Result] = []
    for problem in problems:
        try:
            result = synthesize(problem, max_steps)
        except KeyboardInterrupt:
            if not results:
                raise
            max_steps = 0
            result = synthesize(problem, max_steps)
        if np.any(np.asarray(result.status == Status.interrupted)):
            max_steps = 0
        results.append(result)
    return results


def _common_start(
    image: Array,
    key: Key | None,
    initial_image: Array | Result | None,
    initial_noise: float | Scalar,
    batch: bool,
    num_seeds: int | None,
) -> Array | None:
    """Return the initial image of all syntheses of a set, or one for each element of a batch."""
    if not batch:
        validate_input(image, allowed_range=None)
        image = one_copy(image)
    if (key is None) == (initial_image is None):
        raise ValueError(
            "Exactly one of key= (draws noise) and initial_image= must be given, got both or none."
        )
    if key is None:
        return get_image(initial_image)
    deviation = jnp.asarray(initial_noise, image.dtype)
    if not batch and num_seeds is None:
        return image + deviation * jax.random.normal(key, image.shape, image.dtype)
    shape = image.shape[1:] if batch else image.shape
    keys = jax.random.split(key, num_seeds or len(image))
    noise = jax.vmap(lambda key: jax.random.normal(key, shape, image.dtype))(keys)
    return (image if batch else image[None]) + deviation * place_like(noise, image)


def _pose_held(
    pose: Callable[[Array], MADCompetition],
    image: Array,
    starts: Array | Result | None,
    *,
    batch: bool,
    num_seeds: int | None,
) -> AnyProblem:
    """Build the problems as `pose_all`, with the reference metric held at its value at `starts`."""
    starts = get_image(starts)
    if starts is None or (batch and num_seeds is not None):
        return pose_all(pose, image, batch=batch, num_seeds=num_seeds)
    validate_input(starts, allowed_range=None)
    if not batch and num_seeds is None:
        return _held_as_at(pose(one_copy(image)), one_copy(starts))
    size = num_seeds or image.shape[0]
    if starts.ndim == image.ndim - batch:
        starts = jnp.broadcast_to(one_copy(starts), (size, *starts.shape))
    if batch:
        return make_batch(lambda image, start: _held_as_at(pose(image), start), image, starts)
    seeds, image = spread_over(size, image, starts), one_copy(image)
    return make_batch(lambda start, _: _held_as_at(pose(image), start), starts, seeds)


def _default_solver(
    optimized_metric: Callable,
    metric_tradeoff_lambda: float | Scalar | str | None,
    max_steps: int,
) -> AnyOptimizer | Solver:
    """Return Adam with a learning rate that falls to zero, which a constraint needs for accuracy.

    The gradient along the constraint shrinks fast when the optimized metric approaches zero, hence
    the short memory of the squared gradient. With a penalty, return the default optimizer.
    """
    if metric_tradeoff_lambda is not None:
        return default_optimizer(optimized_metric)
    return Solver(optax.adam(_falling_to_zero(max_steps), b2=0.9), stop=Never())


def _falling_to_zero(max_steps: int) -> Callable[[ArrayLike], Scalar]:
    """Return a learning rate that falls from 0.01 to 0 like half a cosine."""
    # An array, so that another number of steps recompiles nothing.
    last = jnp.asarray(max(max_steps, 1), jnp.result_type(float))

    def rate(step: ArrayLike) -> Scalar:
        share = jnp.minimum(jnp.asarray(step, last.dtype) / last, 1)
        return 0.005 * (1 + jnp.cos(jnp.pi * share))

    return rate
