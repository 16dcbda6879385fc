import os
from collections.abc import Callable, Sequence
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from .._rules import checked, COUNT, NOT_NEGATIVE, STEPS
from .._types import Key, PyTree, Scalar
from ..parametrize import AbstractParametrization
from ..regularize import penalize_range
from ..solve import AbstractLeastSquares, AnyOptimizer, Checkpoint, Record, Solver, Stage, Trace
from ..stop import Window
from ..validate import validate_coarse_to_fine
from ._entry import (
    default_initial_image,
    default_loss,
    default_optimizer,
    pose_all,
    synthesize_problem,
)
from ._metamer import Metamer
from ._problem import (
    AbstractParametrizedProblem,
    AbstractPenalizedProblem,
    as_jax,
    as_parametrization,
    as_targets,
    as_weight,
    check_target,
    measure_target,
)
from ._result import Result
from ._stages import as_stage_limit, CoarseToFine, plan_stages


class MetamerCTF(AbstractParametrizedProblem, AbstractPenalizedProblem, AbstractLeastSquares):
    """The problem of a metamer from coarse to fine: one scale of the model after another, then all.

    The model has ``scales``, a list of labels from coarse to fine. Called with ``scales=``, some of
    these labels, it represents an image by these scales alone. There is one stage per scale, and a
    last stage with all of them; with ``"together"`` the finest scale has no stage of its own. The
    learning rate, L-BFGS and the stop rule start again in each stage. The rule can stop the
    synthesis only in the last stage, after more than `ctf_iters_to_check` other steps there.

    With L-BFGS, the default for Portilla-Simoncelli, stages do not help. With the same loss and
    number of evaluations, `plenoptax.metamer` comes closer in nearly every group of statistics at
    128 x 128 pixels, and in most groups at 64 x 64 (see ``benchmarks/README.md``). Use `metamer`
    unless you want to see the stages, or to follow a published procedure.

    If the model has a method ``remove_scales(representation, scales)``, as `PortillaSimoncelli`
    has, each step evaluates the full model once and selects. Otherwise the program contains one
    copy of the model for each stage and runs the copy of the current stage. Such a program takes
    longer to compile and, with convolutions on CPU, to run.

    Attributes:
        model: A function from an image, and some of the scales, to an array.
        image: The target image.
        target: The representation of the target image.
        stage_targets: The parts of the target to match in each stage.
        loss_function: A function from two representations, the synthesized one first, to a scalar.
        penalty_function: A function from an image to a scalar.
        penalty_lambda: The weight of the penalty, or its schedule.
        parametrization: The variables that the optimizer moves instead of the pixels.
        change_scale_criterion: The change of the objective below which a stage ends, or None.
        change_scale_loss: The objective below which a stage ends, or None.
        max_stage_steps: The maximum number of steps of a stage, or None.
        ctf_iters_to_check: The number of steps over which that change is measured; without a
            criterion, the length of a stage.
        scales: The names of the stages.
        stage_scales: The model's scales to match in each stage.

    References:
        Portilla and Simoncelli (2000), International Journal of Computer Vision 40, 49-70.

    Example:
        >>> import plenoptax as plx
        >>> model = plx.models.PortillaSimoncelli((64, 64), n_scales=2)
        >>> problem = plx.MetamerCTF(plx.data.brick()[:, :64, :64], model)
        >>> problem.scales
        ('pixel_statistics', 'residual_lowpass', '1', '0', 'all')
    """

    citation: ClassVar[str] = Metamer.citation
    model: Callable
    image: Array
    target: PyTree
    stage_targets: tuple[PyTree, ...]
    loss_function: Callable
    penalty_function: Callable
    penalty_lambda: Scalar | Callable
    parametrization: AbstractParametrization
    change_scale_criterion: Scalar | None
    change_scale_loss: Scalar | None
    max_stage_steps: Int[Array, ""] | None
    ctf_iters_to_check: int = eqx.field(static=True)
    scales: tuple[str, ...] = eqx.field(static=True)
    stage_scales: tuple[tuple, ...] = eqx.field(static=True)

    @checked(
        change_scale_criterion=NOT_NEGATIVE,
        change_scale_loss=NOT_NEGATIVE,
        ctf_iters_to_check=COUNT,
        max_stage_steps=COUNT,
    )
    def __init__(
        self,
        image: Array,
        model: Callable,
        loss_function: Callable | None = None,
        penalty_function: Callable = penalize_range,
        penalty_lambda: float | Scalar | Callable = 0.1,
        coarse_to_fine: CoarseToFine = "together",
        *,
        change_scale_criterion: float | Scalar | None = 1e-2,
        change_scale_loss: float | Scalar | None = None,
        ctf_iters_to_check: int = 50,
        max_stage_steps: int | None = 500,
        target_representation: PyTree | None = None,
        parametrization: AbstractParametrization | None = None,
    ):
        """Build the problem.

        Args:
            image: The target, of any shape that the model takes; no batch axis.
            model: A model with ``scales``, as the class describes.
            loss_function: A function from two representations to a scalar; see `Metamer`. It
                receives the representations of the scales of the stage. A function that only
                accepts full representations receives full ones that differ in these scales alone.
            penalty_function: A function from an image to a scalar. By default the sum of squares of
                the distances of pixel values from [0, 1].
            penalty_lambda: The weight of the penalty, or its schedule; see `Metamer`.
            coarse_to_fine: Whether a stage keeps the coarser scales ("together") or matches one
                scale at a time ("separate").
            change_scale_criterion: A stage ends when the objective at its newest accepted step
                differs by less than this from the objective `ctf_iters_to_check` - 1 steps earlier.
                None: each stage takes `ctf_iters_to_check` accepted steps.
            change_scale_loss: A stage also ends when the objective falls below this.
            ctf_iters_to_check: The length of that interval in accepted steps, at least 1.
            max_stage_steps: A stage also ends after this many steps, including rejected ones.
                Without a limit, a loss that falls slowly delays the fine scales. In the last stage
                it is the limit of runs with ``max_steps=None``. None: no limit.
            target_representation: The representation to match instead of the image's own; only for
                models with ``remove_scales``.
            parametrization: The variables that the optimizer moves; by default the pixels.

        Raises:
            TypeError: As for `Metamer`, or if the model does not take ``scales``.
            AttributeError: If the model has no ``scales``.
            ValueError: If the scales do not change the model's output, an argument is unknown or
                out of range, or the limit of a stage ends it before its criteria can.
        """
        image = as_jax(image)
        check_target(image, model, penalty_function, penalty_lambda)
        if coarse_to_fine not in ("together", "separate"):
            raise ValueError(
                f"coarse_to_fine must be 'together' or 'separate', got {coarse_to_fine!r}."
            )
        self.max_stage_steps = as_stage_limit(max_stage_steps, ctf_iters_to_check)
        validate_coarse_to_fine(model, image_shape=image.shape, image_dtype=image.dtype)
        self.model = model
        self.image = image
        if target_representation is not None and not hasattr(model, "remove_scales"):
            raise ValueError(
                "The model must have a method remove_scales to split target_representation, got "
                f"{type(model).__name__} without one. Leave out target_representation=."
            )
        self.target = measure_target(model, self.image, target_representation, loss_function)
        self.loss_function = loss_function or default_loss(
            model, self.image, self.target, in_stages=True
        )
        self.penalty_function = penalty_function
        self.penalty_lambda = as_weight(penalty_lambda)
        self.parametrization = as_parametrization(parametrization)
        self.change_scale_criterion = _optional(change_scale_criterion)
        self.change_scale_loss = _optional(change_scale_loss)
        self.ctf_iters_to_check = ctf_iters_to_check
        labels = tuple(model.scales)  # pyright: ignore[reportFunctionMemberAccess]
        self.stage_scales, self.scales = plan_stages(labels, coarse_to_fine)
        self.stage_targets = tuple(self._targets())

    def initial_image(self, key: Key) -> Array:
        """Return the model's own initial image, else uniform noise."""
        return default_initial_image(self.model, self.image, key)

    def objective(self, z: PyTree, memory: Stage) -> tuple[Scalar, dict[str, Array]]:
        """Evaluate the objective of the current stage."""
        image = self.decode(z)
        terms = {}
        if hasattr(self.model, "remove_scales"):
            whole = self.model(image)
            branches = [self._selected_loss(stage) for stage in range(len(self.scales))]
            loss = jax.lax.switch(memory.index, branches, whole)
            terms["loss_of_all_scales"] = self.loss_function(whole, self.target)
        else:
            branches = [self._partial_loss(stage) for stage in range(len(self.scales))]
            loss = jax.lax.switch(memory.index, branches, image)
        value, penalty = self.add_penalty(loss, image, memory.inner[0])
        return value, terms | penalty

    def start(self) -> Stage:
        """Return the first stage."""
        losses = jnp.zeros((self.ctf_iters_to_check,), self.image.dtype)
        window = Window(losses, jnp.zeros((), jnp.int32))
        return self._stage(jnp.zeros((), jnp.int32), self.count_steps(), window)

    def advance(self, memory: Stage, z: PyTree, terms: dict[str, Array]) -> Stage:
        """Count an accepted step in this stage, or begin the next one."""
        num_steps, window = memory.inner
        window = window.push(terms["loss"])
        finished = window.count >= self.ctf_iters_to_check
        if self.change_scale_criterion is not None:
            change = jnp.abs(window.oldest - window.newest)
            finished &= change < self.change_scale_criterion.astype(change.dtype)
        if self.change_scale_loss is not None:
            finished |= terms["loss"] < self.change_scale_loss.astype(terms["loss"].dtype)
        finished = (finished | memory.at_limit) & ~memory.is_last
        window = Window(window.values, jnp.where(finished, 0, window.count))
        index = memory.index + finished.astype(jnp.int32)
        return self._stage(index, self.count_steps(num_steps), window)

    def residual(self, z: PyTree) -> PyTree:
        """Return the difference between the representations of the image and the target."""
        return jax.tree.map(jnp.subtract, self.model(self.decode(z)), self.target)

    def scales_timing(self, trace: Trace) -> dict[str, np.ndarray]:
        """Return the steps of a trace in each stage that it reached, by the stage's name."""
        stage = trace.terms["stage"][:-1]
        found = ((name, np.flatnonzero(stage == i)) for i, name in enumerate(self.scales))
        return {name: steps for name, steps in found if steps.size}

    def _stage(self, index: Array, num_steps: Array | None, window: Window) -> Stage:
        return Stage(
            index,
            self.scales,
            (num_steps, window),
            max_steps=self.max_stage_steps,
            # plenoptic counts the steps of the last stage from 0, and stops at a larger count.
            waits=window.count <= self.ctf_iters_to_check + 1,
        )

    def _targets(self) -> list[PyTree]:
        if not hasattr(self.model, "remove_scales"):
            return [_represent_scales(self.model, self.image, s) for s in self.stage_scales]
        return [self._select(self.target, scales) for scales in self.stage_scales]

    def _select(self, representation: PyTree, scales: Sequence) -> PyTree:
        return self.model.remove_scales(representation, scales)  # pyright: ignore[reportFunctionMemberAccess]

    def _selected_loss(self, stage: int) -> Callable[[PyTree], Scalar]:
        """Return the loss of a stage, as a function of the full representation."""
        scales, target = self.stage_scales[stage], self.stage_targets[stage]

        def of_part(whole: PyTree) -> Scalar:
            return self.loss_function(self._select(whole, scales), target)

        def of_whole(whole: Array) -> Scalar:
            positions = jnp.arange(whole.shape[-1], dtype=whole.dtype)
            kept = self._select(jnp.broadcast_to(positions, whole.shape), scales)
            counts = jnp.isin(positions, kept.reshape(-1, kept.shape[-1])[0])
            counts = jnp.broadcast_to(counts, whole.shape)
            return self.loss_function(jnp.where(counts, whole, self.target), self.target)

        try:
            eqx.filter_eval_shape(of_part, self.target)
        except (TypeError, ValueError):
            return of_whole
        return of_part

    def _partial_loss(self, stage: int) -> Callable[[Array], Scalar]:
        """Return the loss of a stage, as a function of the image."""
        scales, target = list(self.stage_scales[stage]), self.stage_targets[stage]
        return lambda image: self.loss_function(self.model(image, scales=scales), target)


@eqx.filter_jit
def _represent_scales(model: Callable, image: Array, scales: tuple) -> PyTree:
    return model(image, scales=list(scales))


def _optional(value: float | Scalar | None) -> Scalar | None:
    return None if value is None else jnp.asarray(value, jnp.result_type(float))


@checked(max_steps=STEPS, num_seeds=COUNT, batch_size=COUNT)
def metamer_ctf(
    image: Array,
    model: Callable,
    loss_function: Callable | None = None,
    penalty_function: Callable = penalize_range,
    penalty_lambda: float | Scalar | Callable = 0.1,
    coarse_to_fine: CoarseToFine = "together",
    *,
    change_scale_criterion: float | Scalar | None = 1e-2,
    change_scale_loss: float | Scalar | None = None,
    ctf_iters_to_check: int = 50,
    max_stage_steps: int | None = 500,
    key: Key | None = None,
    initial_image: Array | Result | None = None,
    optimizer: AnyOptimizer | None = None,
    solver: Solver | None = None,
    max_steps: int | None = None,
    record: Record | int | None = None,
    progress: bool = True,
    checkpoint: Checkpoint | str | os.PathLike | None = None,
    target_representation: PyTree | None = None,
    parametrization: AbstractParametrization | None = None,
    batch: bool = False,
    num_seeds: int | None = None,
    batch_size: int | None = None,
) -> Result:
    """Synthesize a metamer from coarse to fine.

    With the defaults for textures this does not help: `metamer`, which matches all scales at once,
    comes closer with the same number of evaluations; see `MetamerCTF`.

    Args:
        image: The target, of any shape that the model takes; with `batch` one extra leading axis.
        model: A model with ``scales``; see `MetamerCTF`.
        loss_function: A function from two representations to a scalar; see `MetamerCTF`.
        penalty_function: A function from an image to a scalar; see `Metamer`.
        penalty_lambda: The weight of the penalty, or its schedule; see `Metamer`.
        coarse_to_fine: Whether a stage keeps the coarser scales ("together") or matches one scale
            at a time ("separate").
        change_scale_criterion: The change of the objective below which a stage ends; see
            `MetamerCTF`.
        change_scale_loss: The objective below which a stage also ends, or None.
        ctf_iters_to_check: The number of accepted steps over which that change is measured.
        max_stage_steps: The maximum number of steps of a stage; see `MetamerCTF`.
        key: Draws the initial image; give this or `initial_image`.
        initial_image: The image to start from, or an earlier result.
        optimizer: Any optax transformation; see `metamer` for the default.
        solver: An optimizer with a stop rule of your own, instead of `optimizer`.
        max_steps: The maximum number of steps in all stages together. By default the synthesis runs
            until the last stage stops, or has taken `max_stage_steps`.
        record: Which images to keep; see `Record`.
        progress: Whether to show a progress bar. The bar shows the current stage.
        checkpoint: A file to save to while running, and to continue from if it exists; see
            `metamer`.
        target_representation: The representation to match instead of the image's own; only for
            models with ``remove_scales``.
        parametrization: The variables that the optimizer moves; by default the pixels.
        batch: Whether the first axis of `image` indexes targets, each with its own metamer.
        num_seeds: The number of metamers to synthesize for one target, each from its own initial
            image.
        batch_size: The largest number of elements that are computed at once. A larger batch is run
            in slices, one after another; the result is the same, and its state is on the host.

    Returns:
        The result. ``trace.terms["stage"]`` is the index of the stage of each loss.

    Raises:
        NonfiniteError: If the objective was not finite; its `result` keeps everything.
        ValueError: If arguments contradict each other, or do not fit the model.
        TypeError: If an argument is of the wrong type.

    Example:
        >>> import jax, plenoptax as plx
        >>> model = plx.models.PortillaSimoncelli((64, 64), n_scales=2)
        >>> result = plx.metamer_ctf(
        ...     plx.data.brick()[:, :64, :64],
        ...     model,
        ...     change_scale_criterion=None,
        ...     ctf_iters_to_check=2,
        ...     key=jax.random.key(0),
        ...     max_steps=12,
        ...     progress=False,
        ... )
        >>> list(result.problem.scales_timing(result.trace))
        ['pixel_statistics', 'residual_lowpass', '1', '0', 'all']
    """

    def pose(image: Array) -> MetamerCTF:
        return MetamerCTF(
            image,
            model,
            loss_function,
            penalty_function,
            penalty_lambda,
            coarse_to_fine,
            change_scale_criterion=change_scale_criterion,
            change_scale_loss=change_scale_loss,
            ctf_iters_to_check=ctf_iters_to_check,
            max_stage_steps=max_stage_steps,
            target_representation=target_representation,
            parametrization=parametrization,
        )

    image = as_targets(image, penalty_function, penalty_lambda, batch=batch)
    return synthesize_problem(
        pose_all(pose, image, batch=batch, num_seeds=num_seeds, initial_image=initial_image),
        image,
        default_solver=lambda: default_optimizer(model),
        key=key,
        initial_image=initial_image,
        optimizer=optimizer,
        solver=solver,
        max_steps=max_steps,
        record=record,
        progress=progress,
        checkpoint=checkpoint,
        batch_size=batch_size,
    )
