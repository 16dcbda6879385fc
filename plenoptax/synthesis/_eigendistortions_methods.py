"""Methods that find eigendistortions, as functions of the same arguments."""

from collections.abc import Callable
from typing import Literal, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from .._progress import Watch
from .._tree import check_alike, leaves_by_path
from .._types import Key
from ..linalg import (
    BlockLanczos,
    Eigenpairs,
    exact,
    LanczosState,
    LinearMap,
    Power,
    PowerState,
    randomized_svd,
    solve,
)
from ..linalg._solve import take_steps
from ._eigendistortions_preconditioner import local_spectrum
from ._eigendistortions_result import Eigendistortions


State: TypeAlias = LanczosState | PowerState


class Search(NamedTuple):
    """The map to search.

    Attributes:
        image: The image.
        everywhere: The linearized model, a map of all changes of the image.
        lift: The map from the coordinates of the search to changes of the image.
        operator: The linearized model as a map of these coordinates.
    """

    image: Array
    everywhere: LinearMap
    lift: LinearMap
    operator: LinearMap


class Options(NamedTuple):
    """The options of all methods; see `eigendistortions`.

    In a batch, `watch` is what all its searches report to; None for a search with a bar of its own.
    """

    k: int
    which: Literal["top", "bottom", "both"]
    rtol: float
    max_products: int
    p: int
    q: int
    max_iter: int
    stop_criterion: float
    resume: Eigendistortions | State | None
    progress: bool
    watch: Watch | None = None


class Found(NamedTuple):
    """The output of a method."""

    pairs: Eigenpairs
    jacobian: Float[Array, "m n"] | None = None
    state: State | None = None


class Method(NamedTuple):
    """A method, and the options that it supports.

    Attributes:
        find: The function that finds the eigenpairs.
        ends: The values of `which` that it accepts.
        is_resumable: Whether it can continue from a state.
        finds_all: Whether it finds all eigenpairs, regardless of `k`.
    """

    find: Callable[[Search, Key, Options], Found]
    ends: tuple[str, ...] = ("top", "bottom", "both")
    is_resumable: bool = False
    finds_all: bool = False


def choose_method(method: str, operator: LinearMap, options: Options) -> str:
    """Return the name of a method in `METHODS`.

    Raises:
        ValueError: If the method does not exist, or does not support the options.
    """
    methods = ("auto", "block_lanczos", "power", "randomized_svd", "exact")
    if method not in methods:
        raise ValueError(f"method must be one of {', '.join(methods)}, got {method!r}.")
    k, which = options.k, options.which
    if which not in ("top", "bottom", "both"):
        raise ValueError(f"which must be 'top', 'bottom' or 'both', got {which!r}.")
    n, m = operator.input_size, operator.output_size
    is_small = min(n, m) <= 3072 and n * m <= 2**27
    name = method if method != "auto" else "dense" if is_small else "block_lanczos"
    chosen = METHODS[name]
    if which not in chosen.ends:
        raise ValueError(
            f"which must be {' or '.join(map(repr, chosen.ends))} for the method {method!r}, got "
            f"{which!r}."
        )
    if k * (2 if which == "both" else 1) > n and not chosen.finds_all:
        raise ValueError(
            f"The number of eigenvectors must be at most {n}, got k={k} with which={which!r}. "
            "Give a smaller k."
        )
    if options.resume is not None and not chosen.is_resumable:
        raise ValueError(
            "method must be 'block_lanczos' or 'power' to resume a search, got "
            f"{method!r}, which computes everything at once here. Leave out resume=, or give "
            "method='block_lanczos'."
        )
    return name


def _exact(search: Search, key: Key, options: Options) -> Found:
    return Found(*exact(search.operator, key=key))


def _dense(search: Search, key: Key, options: Options) -> Found:
    return Found(exact(search.operator, k=options.k, which=options.which, key=key)[0])


def _randomized_svd(search: Search, key: Key, options: Options) -> Found:
    return Found(randomized_svd(search.operator, options.k, key=key, p=options.p, q=options.q)[0])


def _power(search: Search, key: Key, options: Options) -> Found:
    solver = Power(search.operator, options.k, options.max_iter, options.stop_criterion)
    limit = 4 * options.k * (options.max_iter + 1)
    return _run(solver, solver.init(key=key), limit, search, options)


def _block_lanczos(search: Search, key: Key, options: Options) -> Found:
    image, everywhere, lift, operator = search
    has_bottom, preconditioner = options.which != "top", None
    # If there are fewer responses than pixels, there is a null space; Lanczos finds it unaided.
    if has_bottom and image.ndim >= 2 and operator.input_size <= operator.output_size:
        preconditioner = local_spectrum(everywhere, image.shape, lift, key=jax.random.key(0))

    def start(noise: Float[Array, "b n"]) -> Float[Array, "s n"]:
        smooth = lift.T(_smooth_changes(image))
        if preconditioner is None:
            return smooth
        return jnp.concatenate([smooth, preconditioner.blind(noise)])

    solver = BlockLanczos(
        operator, options.k, options.which, rtol=options.rtol, preconditioner=preconditioner
    )
    # Front ends ignore smooth changes, and noise contains very little of them.
    state = solver.init(key=key, start=start if has_bottom else None)
    return _run(solver, state, options.max_products, search, options)


METHODS = {
    "block_lanczos": Method(_block_lanczos, is_resumable=True),
    "power": Method(_power, ends=("both",), is_resumable=True),
    "randomized_svd": Method(_randomized_svd, ends=("top", "both")),
    "exact": Method(_exact, ends=("both",), finds_all=True),
    "dense": Method(_dense),
}


def _run(
    solver: BlockLanczos | Power,
    state: State,
    max_products: int,
    search: Search,
    options: Options,
) -> Found:
    if options.resume is not None:
        state = _resumed(options.resume, state, search)
    if options.watch is None:
        pairs, state = solve(solver, state, max_products=max_products, progress=options.progress)
    else:
        pairs, state = take_steps(solver, state, max_products, options.watch)
    return Found(pairs, state=state)


def _smooth_changes(image: Float[Array, "*shape"]) -> Float[Array, "s n"]:
    """Return changes of contrast and of mean: uniform, or half a cosine period across the image."""
    pixels = np.asarray(image)
    ramps = [np.ones_like(pixels)]
    for axis in range(pixels.ndim)[-2:]:
        size = pixels.shape[axis]
        cosine = np.cos(np.pi * (np.arange(size) + 0.5) / size).astype(pixels.dtype)
        shape = [size if i == axis else 1 for i in range(pixels.ndim)]
        ramps.append(np.broadcast_to(cosine.reshape(shape), pixels.shape))
    return jnp.asarray(np.stack([ramp * pixels for ramp in ramps] + ramps).reshape(-1, image.size))


def _resumed(resume: Eigendistortions | State, fresh: State, search: Search) -> State:
    state = resume.state if isinstance(resume, Eigendistortions) else resume
    if not isinstance(state, type(fresh)):
        raise ValueError(
            f"resume must be a {type(fresh).__name__} for this method, got "
            f"{type(state).__name__}. Give method= as in the first call."
        )
    given, wanted = leaves_by_path(state), leaves_by_path(fresh)
    # The number of directions in the next block depends on the progress of the search.
    given, wanted = ({p: x for p, x in t.items() if p != ".block"} for t in (given, wanted))
    check_alike(given, wanted, lambda problem: f"resume comes from another search: {problem}.")
    if isinstance(resume, Eigendistortions) and not np.array_equal(resume.image, search.image):
        raise ValueError(
            "resume must be a result for the same image, got a result for another image. Give the "
            "image of the first call."
        )
    if isinstance(state, LanczosState) and state.size and not _is_of(state, search.operator):
        raise ValueError(
            "resume must be a state of the same image, model, noise and subspace, got a state "
            "whose first direction has another product with them. Give the arguments of the first "
            "call."
        )
    return state


def _is_of(state: LanczosState, operator: LinearMap) -> bool:
    """Return whether ``J basis = images coefficients`` holds for the first direction."""
    found = np.asarray(operator(state.basis[:1])[0], np.float64)
    wanted = np.asarray(state.coefficients[:, 0] @ np.asarray(state.images, np.float64))
    precision = float(jnp.finfo(operator.dtype).eps)
    # After the first step, the largest eigenvalue is still unknown.
    scale = max(float(state.largest), float(np.linalg.norm(found)))
    return bool(np.linalg.norm(found - wanted) <= precision**0.5 * scale)
