import time
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._answers import answer, name_of
from .._rules import checked, COUNT, NOT_NEGATIVE, POSITIVE, STEPS
from .._tree import check_alike, leaves_by_path
from .._types import Key
from .._words import describe_key, describe_machine, describe_options, in_words
from ..linalg import (
    AbstractNoise,
    AbstractSubspace,
    BlockLanczos,
    Eigenpairs,
    exact,
    LanczosState,
    linearize,
    LinearMap,
    Power,
    PowerState,
    randomized_svd,
    solve,
)
from ..validate import validate_input, validate_model
from ._eigendistortions_generalized import changes_in
from ._eigendistortions_preconditioner import local_spectrum
from ._eigendistortions_result import Eigendistortions
from ._problem import as_jax, check_finite


@checked(
    k=COUNT,
    rtol=POSITIVE,
    max_products=COUNT,
    p=STEPS,
    q=STEPS,
    max_iter=COUNT,
    stop_criterion=NOT_NEGATIVE,
)
def eigendistortions(
    image: Float[Array, "*shape"],
    model: Callable,
    *,
    k: int = 1,
    which: Literal["top", "bottom", "both"] = "both",
    method: Literal["auto", "block_lanczos", "power", "randomized_svd", "exact"] = "auto",
    noise: AbstractNoise | None = None,
    subspace: AbstractSubspace | None = None,
    key: Key | None = None,
    rtol: float = 1e-4,
    max_products: int | None = None,
    p: int = 5,
    q: int = 2,
    max_iter: int = 1000,
    stop_criterion: float = 1e-7,
    resume: Eigendistortions | LanczosState | PowerState | None = None,
    progress: bool = True,
    batch: bool = False,
) -> Eigendistortions | tuple[Eigendistortions, ...]:
    """Find the changes of an image to which a model is most and least sensitive.

    They are the eigenvectors of the Fisher information ``J^T S^-1 J`` of the response about the
    image, with J the Jacobian of the model and S the covariance of its noise.

    The method ``"auto"`` forms the Jacobian where the shorter of its sides is at most 3072 and it
    has at most ``2**27`` elements, and takes ``"block_lanczos"`` for others. ``"exact"`` returns
    all eigendistortions and the Jacobian. ``"power"`` and ``"randomized_svd"`` (the top only) do as
    in plenoptic and are there to compare.

    Three things to know of the bottom. First, many models ignore some directions altogether: the
    status is then ``null_space``, and the vectors are the projections onto what is ignored of noise
    drawn by `key`. Second, gain-control models are blind, or nearly so, to adding a constant and
    to a change of contrast; ``plenoptax.linalg.complement(jnp.ones_like(image), image)`` leaves
    these out. Third, ``converged`` says that an eigenvalue was found, and no method that takes few
    products can exclude that there is a smaller one: the search starts from noise and from smooth
    changes of contrast and mean, and a larger `k` looks more widely.

    Args:
        image: The image, of any shape that the model takes; with `batch` one axis more.
        model: Any callable of one image that JAX can differentiate, from an image to an array or a
            tree of arrays.
        k: How many eigendistortions at either end.
        which: ``"top"``, ``"bottom"``, or ``"both"``: first those of the top, then the bottom.
        method: See above.
        noise: The noise of the response, such as `plenoptax.linalg.PoissonNoise`. By default
            independent Gaussian noise of variance 1.
        subspace: Only some changes: `plenoptax.linalg.mask` for a region or some channels,
            `window`, `complement`, or `Linear` for any linear map from coordinates to changes.
        key: Draws the noise to start from; by default key 0.
        rtol: When the top is accepted: ``|F v - l v| <= rtol l_max``. For what is accepted at the
            bottom see `plenoptax.linalg.BlockLanczos`.
        max_products: How many products with the Fisher information to take at most (in all, if it
            is resumed); 3000 by default. Not for ``"exact"``, ``"power"`` and ``"randomized_svd"``.
        p: For ``"randomized_svd"``: how many directions to draw besides.
        q: For ``"randomized_svd"``: how many further products to take.
        max_iter: For ``"power"``: how many iterations at either end at most.
        stop_criterion: For ``"power"``: the change of the eigenvalues at which to stop.
        resume: An earlier result (or its state) of the same arguments to go on from, as if it had
            never stopped.
        progress: Whether to show a progress bar.
        batch: Whether the first axis of `image` numbers images; they share one compiled program.

    Returns:
        The eigendistortions; with `batch` a tuple, one for each image.

    Raises:
        ValueError: If arguments contradict each other or do not fit the model, or the Jacobian is
            too large for ``"exact"``.
        TypeError: If the image is no array of real floating-point numbers, or the model cannot be
            used; for what is asked of it see `plenoptax.validate.validate_model`.

    References:
        Berardino, Balle, Laparra and Simoncelli (2017), Eigen-distortions of hierarchical
        representations, NeurIPS.

    Example:
        >>> import plenoptax as plx
        >>> image = plx.data.brick()[:, 100:132, 100:132]
        >>> model = plx.models.LuminanceGainControl(31, pretrained=True)
        >>> found = plx.eigendistortions(image, model, k=2, progress=False)
        >>> found.eigendistortions.shape
        (4, 1, 32, 32)
        >>> found.eigenindex.tolist()
        [0, 1, 1022, 1023]
    """
    image = as_jax(image)
    validate_input(image, allowed_range=None)
    _check_options(image[0] if batch else image, k, noise, subspace, resume, batch=batch)
    if batch:
        rest = dict(noise=noise, subspace=subspace, key=key, rtol=rtol, max_products=max_products)
        rest |= dict(p=p, q=q, max_iter=max_iter, stop_criterion=stop_criterion, progress=progress)
        return tuple(
            eigendistortions(one, model, k=k, which=which, method=method, **rest)  # pyright: ignore
            for one in image
        )
    started = time.perf_counter()
    validate_model(model, image.shape, image.dtype)
    key = jax.random.key(0) if key is None else key
    everywhere, lift = linearize(model, image, noise=noise), changes_in(subspace, image)
    check_finite(everywhere.response)
    operator = everywhere @ lift
    chosen = _choose_method(method, operator, k, which, is_resumed=resume is not None)
    jacobian = state = None
    if chosen == "exact":
        pairs, jacobian = exact(operator, key=key)
    elif chosen == "dense":
        pairs, _ = exact(operator, k=k, which=which, key=key)
    elif chosen == "randomized_svd":
        pairs, _ = randomized_svd(operator, k, key=key, p=p, q=q)
    else:
        if chosen == "power":
            solver = Power(operator, k, max_iter, stop_criterion)
            state, limit = solver.init(key=key), 4 * k * (max_iter + 1)
        else:
            solver, start = _lanczos(everywhere, lift, image, k, which, rtol)
            state, limit = solver.init(key=key, start=start), max_products or 3000
        if resume is not None:
            state = _resumed(resume, state, operator, image)
        pairs, state = solve(solver, state, max_products=limit, progress=progress)
    options = dict(k=k, which=which, rtol=rtol, noise=noise, subspace=subspace)
    provenance = _describe_search(model, chosen, options, key, started, resume)
    return _result(pairs, image, lift, jacobian, state, provenance)


def _check_options(
    image: Array, k: Any, noise: Any, subspace: Any, resume: Any, *, batch: bool
) -> None:
    if batch and resume is not None:
        raise ValueError("A batch cannot be resumed at once; resume its images one by one.")
    if jnp.iscomplexobj(image):
        raise TypeError(f"The image is an array of real numbers; got {image.dtype}.")
    if not isinstance(noise, AbstractNoise | None):
        raise TypeError(
            "The noise is one of plenoptax.linalg, such as GaussianNoise(variance); got "
            f"{type(noise).__name__}."
        )
    if not isinstance(subspace, AbstractSubspace | None):
        raise TypeError(
            "The subspace is one of plenoptax.linalg, such as mask(selected); got "
            f"{type(subspace).__name__}."
        )
    if not isinstance(resume, Eigendistortions | LanczosState | PowerState | None):
        raise TypeError(
            "resume= takes an earlier result, or its state (plenoptax.Eigendistortions.load reads "
            f"one from a file); got {type(resume).__name__}."
        )


def _choose_method(
    method: str, operator: LinearMap, k: int, which: str, *, is_resumed: bool
) -> str:
    methods = ("auto", "block_lanczos", "power", "randomized_svd", "exact")
    if method not in methods:
        raise ValueError(f"The method is one of {', '.join(methods)}; got {method!r}.")
    if which not in ("top", "bottom", "both"):
        raise ValueError(f"which is 'top', 'bottom' or 'both'; got {which!r}.")
    if method in ("power", "exact") and which != "both":
        raise ValueError(f"The method {method!r} finds both ends; got which={which!r}.")
    if method == "randomized_svd" and which == "bottom":
        raise ValueError("The method 'randomized_svd' finds the top only.")
    sides = operator.input_size, operator.output_size
    is_small = min(sides) <= 3072 and sides[0] * sides[1] <= 2**27
    chosen = method if method != "auto" else "dense" if is_small else "block_lanczos"
    if chosen != "exact" and k * (2 if which == "both" else 1) > operator.input_size:
        raise ValueError(
            f"There are {operator.input_size} eigenvectors; k={k} with which={which!r} asks for "
            "more."
        )
    if is_resumed and chosen in ("exact", "dense", "randomized_svd"):
        raise ValueError(
            f"The method {method!r} computes the whole here and has nothing to resume; leave out "
            "resume=, or give method='block_lanczos'."
        )
    return chosen


def _lanczos(
    everywhere: LinearMap,
    lift: LinearMap,
    image: Array,
    k: int,
    which: Literal["top", "bottom", "both"],
    rtol: float,
) -> tuple[BlockLanczos, Callable | None]:
    """The solver and where it starts: for the bottom, it knows what front ends ignore."""
    operator = everywhere @ lift
    if which == "top":
        return BlockLanczos(operator, k, which, rtol=rtol), None
    smooth = lift.T(_smooth_changes(image))
    preconditioner = None
    # Fewer responses than pixels leave a null space, which Lanczos finds by itself.
    if image.ndim >= 2 and operator.input_size <= operator.output_size:
        preconditioner = local_spectrum(everywhere, image.shape, lift, key=jax.random.key(0))
    solver = BlockLanczos(operator, k, which, rtol=rtol, preconditioner=preconditioner)

    def start(noise: Float[Array, "b n"]) -> Float[Array, "s n"]:
        if preconditioner is None:
            return smooth
        return jnp.concatenate([smooth, preconditioner.blind(noise)])

    return solver, start


def _smooth_changes(image: Float[Array, "*shape"]) -> Float[Array, "s n"]:
    """Changes of contrast and of mean, uniform and with one half of a cosine across the image."""
    pixels = np.asarray(image)
    ramps = [np.ones_like(pixels)]
    for axis in range(pixels.ndim)[-2:]:
        size = pixels.shape[axis]
        cosine = np.cos(np.pi * (np.arange(size) + 0.5) / size).astype(pixels.dtype)
        shape = [size if i == axis else 1 for i in range(pixels.ndim)]
        ramps.append(np.broadcast_to(cosine.reshape(shape), pixels.shape))
    return jnp.asarray(np.stack([ramp * pixels for ramp in ramps] + ramps).reshape(-1, image.size))


def _describe_search(
    model: Callable, method: str, options: dict[str, Any], key: Key, started: float, resume: Any
) -> dict[str, Any]:
    """How eigendistortions came about, in plain values that fit into JSON."""
    if isinstance(resume, Eigendistortions):
        started -= resume.provenance["wall_time"]
    return {
        "model": name_of(model),
        "parameters": in_words(model),
        "citation": answer(model, "citation"),
        "method": method,
        **describe_options(options),
        "key": describe_key(key),
        **describe_machine(started),
    }


def _resumed(
    resume: Any, fresh: LanczosState | PowerState, operator: LinearMap, image: Array
) -> LanczosState | PowerState:
    state = resume.state if isinstance(resume, Eigendistortions) else resume
    if type(state) is not type(fresh):
        raise ValueError(
            f"There is nothing to resume for this method: got {type(state).__name__}, where a "
            f"{type(fresh).__name__} is wanted. Give method= as in the first call."
        )
    given, wanted = leaves_by_path(state), leaves_by_path(fresh)
    # How many directions come next depends on how far it has come.
    given, wanted = ({p: x for p, x in t.items() if p != ".block"} for t in (given, wanted))
    check_alike(given, wanted, lambda problem: f"The state is that of another search: {problem}.")
    if isinstance(resume, Eigendistortions) and not np.array_equal(resume.image, image):
        raise ValueError("The earlier result is that of another image.")
    if isinstance(state, LanczosState) and state.size and not _is_of(state, operator):
        raise ValueError(
            "The state is that of another image, model, noise or subspace: their product with its "
            "first direction is not the one it holds."
        )
    return state  # pyright: ignore[reportReturnType]


def _is_of(state: LanczosState, operator: LinearMap) -> bool:
    """Whether ``J basis = images coefficients`` holds for the first direction."""
    found = np.asarray(operator(state.basis[:1])[0], np.float64)
    wanted = np.asarray(state.coefficients[:, 0] @ np.asarray(state.images, np.float64))
    precision = float(jnp.finfo(operator.dtype).eps)
    return bool(np.linalg.norm(found - wanted) <= precision**0.5 * state.largest)


def _result(
    pairs: Eigenpairs,
    image: Array,
    lift: LinearMap,
    jacobian: Array | None,
    state: LanczosState | PowerState | None,
    provenance: dict[str, Any],
) -> Eigendistortions:
    return Eigendistortions(
        eigendistortions=lift(pairs.vectors).reshape(-1, *image.shape),
        eigenvalues=pairs.values,
        eigenindex=pairs.indices,
        residuals=pairs.residuals,
        floor=pairs.floor,
        null_dimension=pairs.null_dimension,
        num_products=pairs.num_products,
        status=pairs.status,
        jacobian=jacobian,
        state=state,
        image=image,
        provenance=provenance,
    )
