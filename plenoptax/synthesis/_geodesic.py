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
    as_jax,
    as_parametrization,
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
    """Find the shortest path between two images as a model measures it.

    A path is a sequence of `n_steps` + 1 images, the first and the last of which are given. The
    objective is its energy, ``mean(step_energy)`` with ``step_energy[t] = sum((model(x[t + 1]) -
    model(x[t]))**2)``, plus ``penalty_lambda`` times the penalties of all frames. Of all paths of
    the same length in the model's responses the one of constant speed has the least energy, so the
    minimum is a shortest path, and the energy is at least that of a straight line between the two
    representations: their squared distance by ``n_steps**2``.

    There may be several minima, and an optimizer finds the one next to where it starts: compare
    `energy` over several bridges. What the model does not see stays as it was at the start;
    `ConditionalGeodesic` takes the path that is also short in pixels.

    Attributes:
        image_a: The first frame.
        image_b: The last frame.
        model: From an image to an array or a tree of arrays.
        ends: The representations of the two, one a row.
        n_steps: The number of steps.
        initial_sequence: The kind of path to start from.
        penalty_function: From a path to the sum of its frames' penalties.
        penalty_lambda: Their weight, or its schedule.
        parametrization: What the optimizer moves in place of the pixels between the two ends.

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
        """Pose the problem.

        Args:
            image_a: The first frame, of any shape that the model takes; no batch axis.
            image_b: The last frame, of the same shape.
            model: See `Metamer`. It is called with one frame at a time, under `jax.vmap`.
            n_steps: The number of steps, at least 2; there is one frame more.
            initial_sequence: Whether to start from the straight line between the two images, or
                from a Brownian bridge, which the key draws.
            penalty_function: From a frame to a scalar; by default the sum of the squares of what
                lies outside of [0, 1].
            penalty_lambda: Its weight, or a function of how many steps have been accepted, such as
                an optax schedule.
            parametrization: By default the pixels themselves.

        Raises:
            TypeError: As `Metamer`.
            ValueError: As `Metamer`; or if the images differ in shape or dtype, `n_steps` is less
                than 2, or `initial_sequence` is unknown.
        """
        image_a, image_b = as_jax(image_a), as_jax(image_b)
        _check_alike(image_a, image_b)
        check_images(image_b, penalty_function, penalty_lambda)
        check_target(image_a, model, penalty_function, penalty_lambda)
        if initial_sequence not in ("straight", "bridge"):
            raise ValueError(
                f"initial_sequence is 'straight' or 'bridge'; got {initial_sequence!r}."
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
        """The stop rule of `geodesic`: no step of 50 moves the path by much.

        That is by more than 1e-4 times the golden ratio times the norm of `pixelfade`, as in
        plenoptic 1.x.
        """
        norm = jnp.linalg.norm(jnp.ravel(self.pixelfade))
        return PixelChange(1e-4 * (1 + 5**0.5) / 2 * norm, window=50)

    def initial_image(self, key: Key) -> Path:
        """`pixelfade`, or a Brownian bridge between the two images."""
        if self.initial_sequence == "straight":
            return self.pixelfade
        return sample_brownian_bridge(self.image_a, self.image_b, self.n_steps, key=key)

    def encode(self, image: Path) -> PyTree:
        """The variables of the frames between the two ends."""
        return self.parametrization.encode(image[1:-1])

    def decode(self, z: PyTree) -> Path:
        """The path, with its two ends."""
        return self._with_ends(self.parametrization.decode(z))

    def project(self, z: PyTree) -> PyTree:
        """The constraints of the parametrization."""
        return self.parametrization.project(z)

    def objective(
        self, z: PyTree, memory: Int[Array, ""] | None
    ) -> tuple[Scalar, dict[str, Array]]:
        """See `AbstractProblem.objective`."""
        path, terms = self.measure(z)
        value, penalty = self.add_penalty(jnp.mean(terms["step_energy"]), path, memory)
        return value, terms | penalty

    def measure(self, z: PyTree) -> tuple[Path, dict[str, Array]]:
        """The path of a ``z``, and what a trace shows of it.

        Returns:
            The path and its terms: ``"step_energy"``, one a step, and ``"deviation_from_line"`` of
            the representations, for each frame how far it is along the line and how far from it,
            in units of the line's length.
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
        """The objective of any path, whatever its ends and its number of steps."""
        return self.add_penalty(self.energy(geodesic), geodesic, None)[0]

    def energy(self, geodesic: Path) -> Scalar:
        """The mean of `step_energy`."""
        return jnp.mean(self.step_energy(geodesic))

    def step_energy(self, geodesic: Path) -> Float[Array, " steps"]:
        """The squared distance between the representations of successive frames."""
        return energy_of_steps(represent_path(self.model, geodesic))

    def deviation_from_line(self, geodesic: Path) -> Float[Array, "frames 2"]:
        """How far each frame's representation is along the line between the ends', and from it.

        In units of the distance between the two ends.
        """
        return jnp.stack(deviation_from_line(represent_path(self.model, geodesic)), axis=-1)

    def calculate_jerkiness(self, geodesic: Path) -> Float[Array, " inner"]:
        """How much of the acceleration of the representations the frames could still undo.

        On a geodesic the acceleration is orthogonal to all that small changes of the frame can
        bring about, and the jerkiness is 0. It is ``sum(vjp(a / norm(a))**2)`` with ``a`` the
        second difference of the representations, and 0 where that vanishes but for rounding, as on
        the straight lines of linear models.

        Returns:
            One number for each frame but the first and the last.
        """
        return jerkiness(self.model, geodesic)

    @checked(n_steps=COUNT)
    def respace(self, geodesic: Path, n_steps: int | None = None) -> Path:
        """The same path at constant speed, as the model measures it.

        Frames are interpolated between the two that come next to them, so respacing once more comes
        closer. A path of least energy has constant speed already; to start from a sequence whose
        steps are uneven, such as a video, or from a geodesic of fewer steps, respace it first.

        Args:
            geodesic: The path.
            n_steps: How many steps the new one shall have, by default as many.
        """
        return respace(geodesic, self.step_energy(geodesic), n_steps or len(geodesic) - 1)

    def _with_ends(self, frames: Path) -> Path:
        return jnp.concatenate([self.image_a[None], frames, self.image_b[None]])


@checked(max_steps=STEPS, num_seeds=COUNT)
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
) -> Result:
    """Synthesize the shortest path between two images as a model measures it.

    The default optimizer is that of plenoptic 1.x, and slow. To converge, take
    ``optimizer=plenoptax.precondition_path(plenoptax.lbfgs())``, which comes nearer in 30 steps
    than Adam in 600.

    Args:
        image_a: The first frame; with `batch` an axis more.
        image_b: The last frame, likewise.
        model: See `Geodesic`.
        n_steps: See `Geodesic`.
        initial_sequence: See `Geodesic`.
        penalty_function: See `Geodesic`.
        penalty_lambda: See `Geodesic`.
        key: Draws the bridge to start from; a straight start needs none.
        initial_image: A path to start from in place of both, or an earlier result.
        optimizer: Any optax transformation, by default Adam with amsgrad and a rate of 0.001.
        solver: An optimizer with a stop rule of your own; not both. By default the rule is
            `Geodesic.default_stop`.
        max_steps: How many steps to take at most.
        record: Which paths to keep; see `Record`.
        progress: Whether to show a progress bar.
        checkpoint: See `metamer`.
        parametrization: See `Geodesic`.
        batch: Whether the first axis of both images numbers pairs, each with a geodesic of its own.
        num_seeds: How many geodesics of one pair to find, each from its own bridge.

    Returns:
        The result, whose image is the path. The terms of its trace are the step energies and the
        deviations from a straight line, see `Geodesic.measure`.

    Raises:
        NonfiniteError: If the objective was not finite; its `result` keeps everything.
        ValueError: If arguments contradict each other, or do not fit the model.
        TypeError: If an argument is of the wrong kind.

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

    image_a, image_b = as_jax(image_a), as_jax(image_b)
    _check_alike(image_a, image_b)
    pairs = jnp.stack([image_a, image_b], axis=1 if batch else 0)
    if batch:
        check_images(pairs, penalty_function, penalty_lambda)
    problem = pose_all(pose, pairs, batch=batch, num_seeds=num_seeds)
    if solver is None:
        optimizer, solver = None, Solver(optimizer or default_amsgrad(1e-3), _default_stop(problem))
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
    )


def _default_stop(problem: AnyProblem) -> PixelChange:
    """The stop rule of a geodesic; in a batch the strictest one."""
    tolerances = problem.map(lambda p: p.default_stop().tolerance)
    return PixelChange(jnp.min(tolerances), window=50)


def _check_alike(image_a: Array, image_b: Array) -> None:
    for image in (image_a, image_b):
        validate_input(image, allowed_range=None)
    if (image_a.shape, image_a.dtype) != (image_b.shape, image_b.dtype):
        raise ValueError(
            "The two ends of a path have the same shape and dtype; got "
            f"{describe(image_a)} and {describe(image_b)}."
        )
