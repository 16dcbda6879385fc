import os
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from .._rules import checked, COUNT, NOT_NEGATIVE, POSITIVE, STEPS
from .._safe import safe_divisor
from .._tree import tree_where
from .._types import Key, PyTree, Scalar
from ..solve import AbstractConstrained, AnyOptimizer, Checkpoint, lbfgs, Record, Solver, Stage
from ..stop import PixelChange, Window
from ._entry import synthesize_problem
from ._geodesic import default_stop, Geodesic
from ._geodesic_solver import precondition_path
from ._result import Result


class ConditionalGeodesic(AbstractConstrained):
    """The problem of a conditional geodesic: almost a geodesic of a model, and short in pixels.

    Among the paths that are nearly as short as a geodesic, it is the shortest in pixels. A geodesic
    is not determined in the null space of its model. This problem minimizes the energy of the path
    in pixels under the constraint that its energy in the model's responses is at most
    `energy_bound`. If the model makes the images of a natural transformation lie on a straight
    line, its conditional geodesic is that transformation; otherwise the path shows what the model
    would have to learn.

    An augmented Lagrangian enforces the constraint. Its multiplier is constant within a stage and
    updated at the end of the stage; if the constraint violation did not shrink, its weight grows.
    The energy in pixels is divided by that of `Geodesic.pixelfade`, the smallest of all paths. So
    the loss in the trace tends to a value of at least 1, and its excess over 1 is the cost of the
    constraint.

    Attributes:
        geodesic: The images, the model, and the penalty.
        energy_bound: The upper bound on `Geodesic.energy`.
        num_stages: The number of stages, each with its own multiplier.

    References:
        Hénaff and Simoncelli (2016), International Conference on Learning Representations, who take
        alternating steps on the two energies instead of using a multiplier; Nocedal and Wright
        (2006), Numerical Optimization, chapter 17.

    Example:
        >>> import plenoptax as plx
        >>> first, last = plx.data.brick()[:, :32, :32], plx.data.grass()[:, :32, :32]
        >>> geodesic = plx.Geodesic(first, last, plx.models.Gaussian(7), n_steps=4)
        >>> bound = 1.01 * geodesic.energy(geodesic.pixelfade)
        >>> problem = plx.ConditionalGeodesic(geodesic, bound)
    """

    citation: ClassVar[str] = Geodesic.citation
    geodesic: Geodesic
    energy_bound: Scalar
    num_stages: int = eqx.field(static=True)

    @checked(energy_bound=POSITIVE, num_stages=COUNT)
    def __init__(self, geodesic: Geodesic, energy_bound: float | Scalar, *, num_stages: int = 20):
        """Build the problem.

        Args:
            geodesic: The images, the model, and the penalty.
            energy_bound: The upper bound on `Geodesic.energy`, a positive number: a little more
                than that of the best geodesic known.
            num_stages: The number of stages, each with its own multiplier. The stop rule ends the
                last stage.

        Raises:
            ValueError: If the bound is not positive, or `num_stages` is less than 1.
        """
        self.geodesic = geodesic
        self.energy_bound = jnp.asarray(energy_bound, geodesic.image_a.dtype)
        self.num_stages = num_stages

    def initial_image(self, key: Key) -> Array:
        """Return the initial path of the geodesic."""
        return self.geodesic.initial_image(key)

    def encode(self, image: Array) -> PyTree:
        """Return the variables of the frames between the two ends."""
        return self.geodesic.encode(image)

    def decode(self, z: PyTree) -> Array:
        """Return the path, with its two ends."""
        return self.geodesic.decode(z)

    def project(self, z: PyTree) -> PyTree:
        """Apply the constraints of the parametrization."""
        return self.geodesic.project(z)

    def objective(self, z: PyTree, memory: Stage) -> tuple[Scalar, dict[str, Array]]:
        """Evaluate the augmented Lagrangian, with the penalty.

        The terms are those of `Geodesic.measure`, ``"pixel_energy"``, and ``"excess"``: the
        fraction by which the energy exceeds its bound.
        """
        path, terms = self.geodesic.measure(z)
        excess = jnp.mean(terms["step_energy"]) / self.energy_bound - 1
        pixel_energy = self.pixel_energy(path)
        lagrangian = pixel_energy / self._least_pixel_energy + memory.inner.penalize(excess)
        value, penalty = self.geodesic.add_penalty(lagrangian, path, memory.inner.num_steps)
        return value, terms | penalty | {"pixel_energy": pixel_energy, "excess": excess}

    def start(self) -> Stage:
        """Return the first stage, with the multiplier 0."""
        dtype = self.geodesic.image_a.dtype
        names = tuple(str(i + 1) for i in range(self.num_stages))
        multiplier = _Multiplier(
            value=jnp.zeros((), dtype),
            weight=jnp.full((), _FIRST_WEIGHT, dtype),
            violation=jnp.full((), jnp.inf, dtype),
            losses=Window(jnp.zeros((_WINDOW,), dtype), jnp.zeros((), jnp.int32)),
            num_steps=self.geodesic.start(),
        )
        return Stage(jnp.zeros((), jnp.int32), names, multiplier)

    def advance(self, memory: Stage, z: PyTree, terms: dict[str, Array]) -> Stage:
        """Count an accepted step in this stage, or begin the next one with a new multiplier."""
        num_steps = self.geodesic.advance(memory.inner.num_steps, z, terms)
        inner = memory.inner.push(terms["loss"], num_steps)
        finished = inner.has_settled & ~memory.is_last
        updated = inner.update(terms["excess"])
        # Once the multiplier has converged, the last stage can begin.
        following = jnp.where(updated.is_right, self.num_stages - 1, memory.index + 1)
        return Stage(
            jnp.where(finished, following, memory.index),
            memory.names,
            tree_where(finished, updated, inner),
        )

    def is_met(self, terms: dict[str, Array]) -> Bool[Array, ""]:
        """Return whether the energy is at most 1 % above its bound."""
        return terms["excess"] <= 0.01

    def pixel_energy(self, path: Array) -> Scalar:
        """Return the mean squared distance between successive frames."""
        return jnp.sum(jnp.diff(path, axis=0) ** 2) / (len(path) - 1)

    @property
    def _least_pixel_energy(self) -> Scalar:
        return safe_divisor(self.pixel_energy(self.geodesic.pixelfade))


_WINDOW = 10
_SETTLED = 1e-4
_RIGHT = 1e-4
_FIRST_WEIGHT = 10.0


class _Multiplier(eqx.Module):
    """The multiplier of the constraint, and what its update needs.

    Attributes:
        value: The estimate of the multiplier in the current stage.
        weight: The weight of the squared excess.
        violation: How far the previous stage was from satisfying the optimality conditions.
        losses: The losses of the current stage.
        num_steps: The number of accepted steps; see `AbstractPenalizedProblem.count_steps`.
    """

    value: Scalar
    weight: Scalar
    violation: Scalar
    losses: Window
    num_steps: Int[Array, ""] | None

    def penalize(self, excess: Scalar) -> Scalar:
        """Return the Lagrangian's term for an excess; its slope is the next multiplier."""
        return (self._next(excess) ** 2 - self.value**2) / (2 * self.weight)

    def push(self, loss: Scalar, num_steps: Int[Array, ""] | None) -> "_Multiplier":
        """Record an accepted step in the same stage."""
        losses = self.losses.push(loss)
        return _Multiplier(self.value, self.weight, self.violation, losses, num_steps)

    @property
    def has_settled(self) -> Bool[Array, ""]:
        """Whether the loss of the stage has almost stopped falling."""
        change = jnp.abs(self.losses.oldest - self.losses.newest)
        small = change < _SETTLED * jnp.abs(self.losses.newest)
        return small & (self.losses.count >= _WINDOW)

    def update(self, excess: Scalar) -> "_Multiplier":
        """Return the next multiplier, with more weight unless the violation fell to a quarter."""
        value = self._next(excess)
        violation = jnp.abs(value - self.value) / self.weight
        losses = Window(self.losses.values, jnp.zeros_like(self.losses.count))
        updated = _Multiplier(value, self.weight, violation, losses, self.num_steps)
        grows = (violation > 0.25 * self.violation) & ~updated.is_right
        weight = jnp.where(grows, 4 * self.weight, self.weight)
        return eqx.tree_at(lambda m: m.weight, updated, weight)

    @property
    def is_right(self) -> Bool[Array, ""]:
        """Whether the last update changed the multiplier very little."""
        return self.violation < _RIGHT

    def _next(self, excess: Scalar) -> Scalar:
        return jnp.maximum(self.value + self.weight * excess, 0)


@checked(tolerance=NOT_NEGATIVE, energy_bound=POSITIVE, max_steps=STEPS, batch_size=COUNT)
def conditional_geodesic(
    result: Result,
    tolerance: float = 0.01,
    *,
    energy_bound: float | Float[Array, "..."] | None = None,
    initial_image: Array | Result | None = None,
    optimizer: AnyOptimizer | None = None,
    solver: Solver | None = None,
    max_steps: int = 1000,
    record: Record | int | None = None,
    progress: bool = True,
    checkpoint: Checkpoint | str | os.PathLike | None = None,
    batch: bool = False,
    batch_size: int | None = None,
) -> Result:
    """Find the shortest path in pixels among the paths nearly as short as a model's geodesic.

    Args:
        result: The result of `geodesic`: the problem, a path to start from, and the energy to hold;
            with `batch` that of a batch of geodesics.
        tolerance: The fraction by which the energy of the path may exceed that of the result.
        energy_bound: The bound on the energy, instead of `tolerance`. It is needed if the model
            cannot distinguish the two images, because the geodesic then has energy 0. In a batch
            one number for all elements, or one for each.
        initial_image: Another path to start from, or the result of an earlier synthesis. By default
            the path of `result`.
        optimizer: Any optax transformation, by default ``precondition_path(lbfgs())``.
        solver: An optimizer with a stop rule of your own, instead of `optimizer`. By default the
            rule is that of `Geodesic.default_stop` with a hundredth of its tolerance: the objective
            is flat along directions that the model does not see, so the remaining steps are small.
            In a batch all elements have the smallest of their tolerances.
        max_steps: The maximum number of steps.
        record: Which paths to keep; see `Record`.
        progress: Whether to show a progress bar.
        checkpoint: A file to save to while running, and to continue from if it exists; see
            `metamer`.
        batch: Whether `result` is that of a batch (`batch` or `num_seeds`). Each element has its
            own bound, and stays on the device of its geodesic.
        batch_size: The largest number of elements that are computed at once. A larger batch is run
            in slices, one after another; the result is the same, and its state is on the host.

    Returns:
        The result, whose image is the path.

    Raises:
        NonfiniteError: If the objective was not finite; its `result` keeps everything.
        TypeError: If `result` is not the result of a geodesic; or of a batch of them, if `batch`.
        ValueError: If arguments contradict each other.

    Example:
        >>> import plenoptax as plx
        >>> first, last = plx.data.brick()[:, :32, :32], plx.data.grass()[:, :32, :32]
        >>> model = plx.models.Gaussian(7)
        >>> result = plx.geodesic(first, last, model, n_steps=4, max_steps=2, progress=False)
        >>> result = plx.conditional_geodesic(result, max_steps=2, progress=False)
        >>> result.image.shape
        (5, 1, 32, 32)
    """
    problem = result.problem
    if not isinstance(problem.posed, Geodesic):
        raise TypeError(
            "result must be a result of plenoptax.geodesic, got a result of "
            f"{type(problem.posed).__name__}. Call plenoptax.geodesic first."
        )
    if result.is_batch != batch:
        raise TypeError(
            f"result must be that of {'a batch' if batch else 'one geodesic'}, got that of "
            f"{'a batch' if result.is_batch else 'one'}. Give batch={result.is_batch}"
            f"{', or one element of the batch' if result.is_batch else ''}."
        )
    path, shape = result.image, result.state.num_steps.shape
    if energy_bound is None:
        energy = problem.map(lambda p, path: p.energy(path), path)
        energy_bound = POSITIVE("energy_bound", (1 + tolerance) * energy)
    bound = jnp.asarray(energy_bound)
    if bound.shape not in ((), shape):
        each = f", or one for each of {shape[0]} elements" if shape else ""
        raise ValueError(
            f"energy_bound must be one number{each}, got an array of shape {bound.shape}."
        )
    bounds = problem.place(jnp.broadcast_to(bound, shape))
    if solver is None:
        stop = PixelChange(default_stop(problem).tolerance / 100, window=50)
        optimizer, solver = None, Solver(optimizer or _fast(), stop)
    return synthesize_problem(
        problem.convert(ConditionalGeodesic, bounds),
        (problem.posed.image_a, problem.posed.image_b),
        default_solver=_fast,
        initial_image=path if initial_image is None else initial_image,
        optimizer=optimizer,
        solver=solver,
        max_steps=max_steps,
        record=record,
        progress=progress,
        checkpoint=checkpoint,
        batch_size=batch_size,
    )


def _fast() -> AnyOptimizer:
    return precondition_path(lbfgs())
