import os
from collections.abc import Callable
from typing import ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._rules import checked, COUNT, STEPS, Whole
from .._tree import describe
from .._types import Key, PyTree, Scalar
from ..parametrize import AbstractParametrization
from ..process import deviation_from_line, make_straight_line, sample_brownian_bridge
from ..regularize import penalize_range, SumOfFrames
from ..solve import AnyOptimizer, AnyProblem, Checkpoint, Record, Solver
from ..stop import PixelChange
from ..validate import validate_input
from ._entry import default_amsgrad, pose_all, synthesize_problem
from ._geodesic_path import (
    energy_of_steps,
    jerkiness,
    Path,
    represent_frames,
    represent_path,
    respace,
)
from ._problem import (
    AbstractOneStageProblem,
    as_image,
    as_jax,
    as_parametrization,
    as_targets,
    as_weight,
    check_finite,
    check_images,
    check_target,
)
from ._result import Result


InitialSequence = Literal["straight", "bridge"]


_CITATION = """@inproceedings{henaff2016geodesics,
  author = {H{\\'e}naff, Olivier J. and Simoncelli, Eero P.},
  title = {Geodesics of Learned Representations},
  booktitle = {International Conference on Learning Representations},
  year = {2016}
}"""


class Geodesic(AbstractOneStageProblem):
    """The problem of a geodesic: the shortest path between two images, measured by a model.

    A path is a sequence of `n_steps` + 1 images; the first and the last are given. The objective is
    its energy, ``mean(step_energy)`` with ``step_energy[t] = sum((model(x[t + 1]) -
    model(x[t]))**2)``, plus ``penalty_lambda`` times the penalties of all frames. Among paths of
    the same length in the model's responses, the path of constant speed has the least energy. So
    the minimum is a shortest path. The energy is at least that of a straight line between the two
    representations: their squared distance divided by ``n_steps**2``.

    There may be several minima, and an optimizer finds one near its starting path: compare `energy`
    over several bridges. In the null space of the model the path stays as it was at the start;
    `ConditionalGeodesic` finds the path that is also short in pixels.

    Attributes:
        image_a: The first frame.
        image_b: The last frame.
        model: A function from an image to an array or a tree of arrays.
        ends: The representations of the two images, one per row.
        n_steps: The number of steps.
        initial_sequence: The kind of starting path.
        penalty_function: A function from a path to the sum of its frames' penalties.
        penalty_lambda: The weight of the penalties, or its schedule.
        parametrization: The variables that the optimizer moves instead of the pixels between the
            ends.

    References:
        Hénaff and Simoncelli (2016), International Conference on Learning Representations.

    Example:
        >>> import plenoptax as plx
        >>> first, last = plx.data.brick()[:, :32, :32], plx.data.grass()[:, :32, :32]
        >>> problem = plx.Geodesic(first, last, plx.models.Gaussian(7), n_steps=4)
        >>> problem.pixelfade.shape
        (5, 1, 32, 32)
        >>> problem.step_energy(problem.pixelfade).shape
        (4,)
    """

    citation: ClassVar[str] = _CITATION
    image_a: Array
    image_b: Array
    model: Callable
    ends: Float[Array, "2 size"]
    n_steps: int = eqx.field(static=True)
    initial_sequence: InitialSequence = eqx.field(static=True)
    penalty_function: Callable
    penalty_lambda: Scalar | Callable
    parametrization: AbstractParametrization

    @checked(n_steps=Whole(2))
    def __init__(
        self,
        image_a: Array,
        image_b: Array,
        model: Callable,
        n_steps: int = 10,
        initial_sequence: InitialSequence = "straight",
        penalty_function: Callable = penalize_range,
        penalty_lambda: float | Scalar | Callable = 0.1,
        *,
        parametrization: AbstractParametrization | None = None,
    ):
        """Build the problem.

        Args:
            image_a: The first frame, of any shape that the model takes; no batch axis.
            image_b: The last frame, of the same shape.
            model: Any callable of one image that JAX can differentiate; see `Metamer`. It is called
                with one frame at a time, under `jax.vmap`.
            n_steps: The number of steps, at least 2; the path has one more frame.
            initial_sequence: The starting path: ``"straight"``, the straight line between the two
                images, or ``"bridge"``, a Brownian bridge drawn with the key.
            penalty_function: A function from a frame to a scalar. By default the sum of squares of
                the distances of pixel values from [0, 1].
            penalty_lambda: The weight of the penalty, or a function of the number of accepted
                steps, such as an optax schedule.
            parametrization: The variables that the optimizer moves; by default the pixels.

        Raises:
            TypeError: As for `Metamer`.
            ValueError: As for `Metamer`; or if the images differ in shape or dtype, `n_steps` is
                less than 2, or `initial_sequence` is unknown.
        """
        image_a, image_b = as_jax(image_a), as_jax(image_b)
        _check_alike(image_a, image_b)
        check_images(image_b, penalty_function, penalty_lambda)
        check_target(image_a, model, penalty_function, penalty_lambda)
        if initial_sequence not in ("straight", "bridge"):
            raise ValueError(
                f"initial_sequence must be 'straight' or 'bridge', got {initial_sequence!r}."
            )
        self.image_a, self.image_b = image_a, image_b
        self.model = model
        self.ends = represent_path(model, jnp.stack([image_a, image_b]))
        check_finite(self.ends)
        self.n_steps = n_steps
        self.initial_sequence = initial_sequence
        self.penalty_function = SumOfFrames(penalty_function)
        self.penalty_lambda = as_weight(penalty_lambda)
        self.parametrization = as_parametrization(parametrization)

    @property
    def pixelfade(self) -> Path:
        """The straight line between the two images, the shortest path in pixels."""
        return make_straight_line(self.image_a, self.image_b, self.n_steps)

    def default_stop(self) -> PixelChange:
        """Return the stop rule of `geodesic`: none of the last 50 steps moved the path by much.

        The tolerance is 1e-4 times the golden ratio times the norm of `pixelfade`, as in plenoptic
        1.x.
        """
        norm = jnp.linalg.norm(jnp.ravel(self.pixelfade))
        return PixelChange(1e-4 * (1 + 5**0.5) / 2 * norm, window=50)

    def initial_image(self, key: Key) -> Path:
        """Return `pixelfade`, or a Brownian bridge between the two images."""
        if self.initial_sequence == "straight":
            return self.pixelfade
        return sample_brownian_bridge(self.image_a, self.image_b, self.n_steps, key=key)

    def encode(self, image: Path) -> PyTree:
        """Return the variables of the frames between the two ends."""
        return self.parametrization.encode(image[1:-1])

    def decode(self, z: PyTree) -> Path:
        """Return the path, with its two ends."""
        return self._with_ends(self.parametrization.decode(z))

    def project(self, z: PyTree) -> PyTree:
        """Apply the constraints of the parametrization."""
        return self.parametrization.project(z)

    def objective(
        self, z: PyTree, memory: Int[Array, ""] | None
    ) -> tuple[Scalar, dict[str, Array]]:
        """Return the mean step energy plus the weighted penalty, and the terms of `measure`.

        Args:
            z: The variables of the frames between the two ends.
            memory: The count of steps, if the penalty's weight follows a schedule.
        """
        path, terms = self.measure(z)
        value, penalty = self.add_penalty(jnp.mean(terms["step_energy"]), path, memory)
        return value, terms | penalty

    def measure(self, z: PyTree) -> tuple[Path, dict[str, Array]]:
        """Return the path of ``z``, and its terms for the trace.

        Returns:
            The path and its terms: ``"step_energy"``, one value per step, and
            ``"deviation_from_line"``: for each frame, how far its representation is along the line
            and how far from it, in units of the line's length.
        """
        frames = self.parametrization.decode(z)
        first, last = self.ends[:1], self.ends[1:]
        vectors = jnp.concatenate([first, represent_frames(self.model, frames), last])
        deviation = deviation_from_line(jax.lax.stop_gradient(vectors))
        return self._with_ends(frames), {
            "step_energy": energy_of_steps(vectors),
            "deviation_from_line": jnp.stack(deviation, axis=-1),
        }

    def objective_function(self, geodesic: Path) -> Scalar:
        """Return the objective of any path, with any ends and any number of steps."""
        return self.add_penalty(self.energy(geodesic), geodesic, None)[0]

    def energy(self, geodesic: Path) -> Scalar:
        """Return the mean of `step_energy`."""
        return jnp.mean(self.step_energy(geodesic))

    def step_energy(self, geodesic: Path) -> Float[Array, " steps"]:
        """Return the squared distance between the representations of successive frames."""
        return energy_of_steps(represent_path(self.model, geodesic))

    def deviation_from_line(self, geodesic: Path) -> Float[Array, "frames 2"]:
        """Compute how far each frame's representation is along the line of the ends, and from it.

        Both are in units of the distance between the two ends.
        """
        return jnp.stack(deviation_from_line(represent_path(self.model, geodesic)), axis=-1)

    def calculate_jerkiness(self, geodesic: Path) -> Float[Array, " inner"]:
        """Compute how much of the acceleration of the representations the frames can still remove.

        On a geodesic the acceleration is orthogonal to every change of the representation that a
        small change of the frame can cause, and the jerkiness is 0. It is ``sum(vjp(a /
        norm(a))**2)``, where ``a`` is the second difference of the representations. It is 0 where
        ``a`` is within rounding of 0, as on the straight lines of linear models.

        Returns:
            One value for each frame except the first and the last.
        """
        return jerkiness(self.model, geodesic)

    @checked(n_steps=COUNT)
    def respace(self, geodesic: Path, n_steps: int | None = None) -> Path:
        """Return the same path at constant speed, measured by the model.

        New frames are interpolated between the two nearest frames, so the speed is only
        approximately constant; respacing again improves it. A path of least energy already has
        constant speed. Respace a sequence with uneven steps, such as a video, or a geodesic of
        fewer steps, before starting from it.

        Args:
            geodesic: The path.
            n_steps: The number of steps of the new path, by default that of `geodesic`.
        """
        return respace(geodesic, self.step_energy(geodesic), n_steps or len(geodesic) - 1)

    def _with_ends(self, frames: Path) -> Path:
        return jnp.concatenate([self.image_a[None], frames, self.image_b[None]])


@checked(max_steps=STEPS, num_seeds=COUNT, batch_size=COUNT)
def geodesic(
    image_a: Array,
    image_b: Array,
    model: Callable,
    n_steps: int = 10,
    initial_sequence: InitialSequence = "straight",
    penalty_function: Callable = penalize_range,
    penalty_lambda: float | Scalar | Callable = 0.1,
    *,
    key: Key | None = None,
    initial_image: Path | Result | None = None,
    optimizer: AnyOptimizer | None = None,
    solver: Solver | None = None,
    max_steps: int = 1000,
    record: Record | int | None = None,
    progress: bool = True,
    checkpoint: Checkpoint | str | os.PathLike | None = None,
    parametrization: AbstractParametrization | None = None,
    batch: bool = False,
    num_seeds: int | None = None,
    batch_size: int | None = None,
) -> Result:
    """Synthesize the shortest path between two images, measured by a model.

    The default optimizer is that of plenoptic 1.x, and slow. For convergence, use
    ``optimizer=plenoptax.precondition_path(plenoptax.lbfgs())``: it comes closer in 30 steps than
    Adam in 600.

    Args:
        image_a: The first frame; with `batch` one extra leading axis.
        image_b: The last frame, of the same shape.
        model: Any callable of one image that JAX can differentiate; see `Geodesic`.
        n_steps: The number of steps, at least 2; the path has one more frame.
        initial_sequence: The starting path: ``"straight"`` or ``"bridge"``; see `Geodesic`.
        penalty_function: A function from a frame to a scalar; see `Geodesic`.
        penalty_lambda: The weight of the penalty, or its schedule; see `Geodesic`.
        key: Draws the bridge to start from; not needed for a straight start.
        initial_image: A path to start from instead, or an earlier result.
        optimizer: Any optax transformation, by default Adam with amsgrad and a learning rate of
            0.001.
        solver: An optimizer with a stop rule of your own, instead of `optimizer`. By default the
            rule is `Geodesic.default_stop`.
        max_steps: The maximum number of steps.
        record: Which paths to keep; see `Record`.
        progress: Whether to show a progress bar.
        checkpoint: A file to save to while running, and to continue from if it exists; see
            `metamer`.
        parametrization: The variables that the optimizer moves; by default the pixels.
        batch: Whether the first axis of both images indexes pairs, each with its own geodesic.
        num_seeds: The number of geodesics to find for one pair, each from its own bridge.
        batch_size: The largest number of elements that are computed at once. A larger batch is run
            in slices, one after another; the result is the same, and its state is on the host.

    Returns:
        The result, whose image is the path. The terms of its trace are the step energies and the
        deviations from a straight line; see `Geodesic.measure`.

    Raises:
        NonfiniteError: If the objective was not finite; its `result` keeps everything.
        ValueError: If arguments contradict each other, or do not fit the model.
        TypeError: If an argument is of the wrong type.

    Example:
        >>> import plenoptax as plx
        >>> first, last = plx.data.brick()[:, :32, :32], plx.data.grass()[:, :32, :32]
        >>> result = plx.geodesic(
        ...     first, last, plx.models.Gaussian(7), max_steps=3, progress=False
        ... )
        >>> result.image.shape
        (11, 1, 32, 32)
    """

    def pose(pair: Array) -> Geodesic:
        return Geodesic(
            pair[0],
            pair[1],
            model,
            n_steps,
            initial_sequence,
            penalty_function,
            penalty_lambda,
            parametrization=parametrization,
        )

    image_a, image_b = as_image(image_a), as_image(image_b)
    _check_alike(image_a, image_b)
    pairs = jnp.stack([image_a, image_b], axis=1 if batch else 0)
    pairs = as_targets(pairs, penalty_function, penalty_lambda, batch=batch)
    problem = pose_all(pose, pairs, batch=batch, num_seeds=num_seeds, initial_image=initial_image)
    if solver is None:
        optimizer, solver = None, Solver(optimizer or default_amsgrad(1e-3), default_stop(problem))
    if key is None and initial_image is None and initial_sequence == "straight":
        key = jax.random.key(0)
    return synthesize_problem(
        problem,
        pairs,
        default_solver=lambda: default_amsgrad(1e-3),
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


def default_stop(problem: AnyProblem) -> PixelChange:
    """Return the stop rule of a geodesic; in a batch the strictest one."""
    tolerances = problem.map(lambda p: p.default_stop().tolerance)
    return PixelChange(jnp.min(tolerances), window=50)


def _check_alike(image_a: Array, image_b: Array) -> None:
    for image in (image_a, image_b):
        validate_input(image, allowed_range=None)
    if (image_a.shape, image_a.dtype) != (image_b.shape, image_b.dtype):
        raise ValueError(
            "image_a and image_b must have the same shape and dtype, got "
            f"{describe(image_a)} and {describe(image_b)}."
        )
