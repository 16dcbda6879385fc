import time
from collections.abc import Callable
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._answers import answer, name_of
from .._rules import checked, COUNT, NOT_NEGATIVE, POSITIVE, STEPS
from .._types import Key
from .._words import describe_key, describe_machine, describe_options, in_words
from ..linalg import AbstractNoise, AbstractSubspace, LanczosState, linearize, PowerState
from ..validate import validate_input, validate_model
from ._eigendistortions_generalized import changes_in
from ._eigendistortions_methods import choose_method, METHODS, Options, Search
from ._eigendistortions_result import Eigendistortions
from ._problem import as_image, check_finite


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
    image, where J is the Jacobian of the model and S the covariance of its noise.

    The method ``"auto"`` forms the Jacobian if its shorter side is at most 3072 and it has at most
    ``2**27`` elements; otherwise it uses ``"block_lanczos"``. ``"exact"`` returns all
    eigendistortions and the Jacobian. ``"power"`` and ``"randomized_svd"`` (the top only) follow
    plenoptic and are there for comparison.

    Three facts about the bottom. First, many models have a null space: directions that they ignore.
    The status is then ``null_space``, and the vectors are projections onto the null space of noise
    drawn with `key`. Second, gain-control models are blind, or nearly so, to adding a constant and
    to a change of contrast; ``plenoptax.linalg.complement(jnp.ones_like(image), image)`` leaves
    these out. Third, ``converged`` says that an eigenvalue was found. No method that takes few
    products can exclude a smaller one: the search starts from noise and from smooth changes of
    contrast and mean, and a larger `k` searches more widely.

    Args:
        image: The image, of any shape that the model takes; with `batch` one extra leading axis.
        model: Any callable of one image that JAX can differentiate, from an image to an array or a
            tree of arrays.
        k: The number of eigendistortions at each end.
        which: ``"top"``, ``"bottom"``, or ``"both"`` (the top first, then the bottom).
        method: How to find them; see above.
        noise: The noise of the response, such as `plenoptax.linalg.PoissonNoise`. By default
            independent Gaussian noise of variance 1.
        subspace: Restricts the search to some changes: `plenoptax.linalg.mask` for a region or some
            channels, `window`, `complement`, or `Linear` for any linear map from coordinates to
            changes.
        key: Draws the noise that the search starts from; by default key 0.
        rtol: The tolerance of the top: a pair is accepted if ``|F v - l v| <= rtol l_max``. For the
            bottom see `plenoptax.linalg.BlockLanczos`.
        max_products: The maximum number of products with the Fisher information, including those
            before `resume`; 3000 by default. Ignored by ``"exact"``, ``"power"`` and
            ``"randomized_svd"``.
        p: For ``"randomized_svd"``: the number of extra directions to draw.
        q: For ``"randomized_svd"``: the number of further products.
        max_iter: For ``"power"``: the maximum number of iterations at each end.
        stop_criterion: For ``"power"``: the change of the eigenvalues at which to stop.
        resume: An earlier result (or its state) with the same arguments. The search continues from
            it as if it had never stopped.
        progress: Whether to show a progress bar.
        batch: Whether the first axis of `image` indexes images; they share one compiled program.

    Returns:
        The eigendistortions; with `batch` a tuple, one for each image.

    Raises:
        ValueError: If arguments contradict each other or do not fit the model, or the Jacobian is
            too large for ``"exact"``.
        TypeError: If the image is not an array of real floating-point numbers, or the model cannot
            be used; `plenoptax.validate.validate_model` lists the requirements.

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
    image = as_image(image)
    validate_input(image, allowed_range=None)
    images = list(image) if batch else [image]
    _check_options(images[0], noise, subspace, resume, batch=batch)
    options = Options(
        k, which, rtol, max_products or 3000, p, q, max_iter, stop_criterion, resume, progress
    )
    found = tuple(_find(one, model, method, noise, subspace, key, options) for one in images)
    return found if batch else found[0]


def _find(
    image: Float[Array, "*shape"],
    model: Callable,
    method: str,
    noise: AbstractNoise | None,
    subspace: AbstractSubspace | None,
    key: Key | None,
    options: Options,
) -> Eigendistortions:
    started = time.perf_counter()
    validate_model(model, image.shape, image.dtype)
    key = jax.random.key(0) if key is None else key
    everywhere, lift = linearize(model, image, noise=noise), changes_in(subspace, image)
    check_finite(everywhere.response)
    search = Search(image, everywhere, lift, everywhere @ lift)
    chosen = choose_method(method, search.operator, options)
    pairs, jacobian, state = METHODS[chosen].find(search, key, options)
    described = dict(k=options.k, which=options.which, rtol=options.rtol)
    described |= dict(noise=noise, subspace=subspace)
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
        provenance=_describe_search(model, chosen, described, key, started, options.resume),
    )


def _check_options(image: Array, noise: Any, subspace: Any, resume: Any, *, batch: bool) -> None:
    if batch and resume is not None:
        raise ValueError(
            "Only one of batch=True and resume= must be given, got both. Resume the images one by "
            "one."
        )
    if jnp.iscomplexobj(image):
        raise TypeError(f"image must be an array of real numbers, got {image.dtype}.")
    if not isinstance(noise, AbstractNoise | None):
        raise TypeError(
            "noise must be one of plenoptax.linalg, such as GaussianNoise(variance), got "
            f"{type(noise).__name__}."
        )
    if not isinstance(subspace, AbstractSubspace | None):
        raise TypeError(
            "subspace must be one of plenoptax.linalg, such as mask(selected), got "
            f"{type(subspace).__name__}."
        )
    if not isinstance(resume, Eigendistortions | LanczosState | PowerState | None):
        raise TypeError(
            f"resume must be an earlier result or its state, got {type(resume).__name__}. "
            "Read a saved result with plenoptax.Eigendistortions.load."
        )


def _describe_search(
    model: Callable, method: str, options: dict[str, Any], key: Key, started: float, resume: Any
) -> dict[str, Any]:
    """Return the provenance of eigendistortions, in plain values that fit into JSON."""
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
