import functools
import itertools
import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._answers import answer, name_of
from .._placement import find_placement, one_copy, parts_of
from .._progress import Interrupt, ProgressBar, Watch
from .._rules import checked, COUNT, NOT_NEGATIVE, POSITIVE, STEPS
from .._threads import run_together
from .._types import Device, Key, PyTree
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
            before `resume`; 3000 by default. Ignored by ``"exact"``, and refused with ``"power"``
            and ``"randomized_svd"``, which have other limits.
        p: For ``"randomized_svd"``: the number of extra directions to draw.
        q: For ``"randomized_svd"``: the number of further products.
        max_iter: For ``"power"``: the maximum number of iterations at each end.
        stop_criterion: For ``"power"``: the change of the eigenvalues at which to stop.
        resume: An earlier result (or its state) with the same arguments. The search continues from
            it as if it had never stopped.
        progress: Whether to show a progress bar, one for all images.
        batch: Whether the first axis of `image` indexes images; they share one compiled program.
            Images that are distributed over devices are searched by the devices that hold them, all
            at once.

    Returns:
        The eigendistortions; with `batch` a tuple, one for each image, each on the device of its
        image. In several processes, the images are those that this process holds.

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
    _check_options(image, noise, subspace, resume, batch=batch)
    # plenoptic's methods have limits of their own, and a limit that does nothing would surprise.
    if max_products is not None and method in ("power", "randomized_svd"):
        raise ValueError(
            f"max_products must be None for method={method!r}, got {max_products}. Give "
            f"{'max_iter' if method == 'power' else 'p and q'} to limit it."
        )
    validate_model(model, image.shape[1:] if batch else image.shape, image.dtype)
    options = Options(
        k, which, rtol, max_products or 3000, p, q, max_iter, stop_criterion, resume, progress
    )
    setting = _Setting(model, noise, subspace, jax.random.key(0) if key is None else key)
    if not batch:
        return _find(one_copy(image), setting, method, options)
    return _find_each(image, setting, method, options)


class _Setting(NamedTuple):
    """What the searches of all images have in common, apart from the method."""

    model: Callable
    noise: AbstractNoise | None
    subspace: AbstractSubspace | None
    key: Key


def _find_each(
    images: Float[Array, "batch *shape"], setting: _Setting, method: str, options: Options
) -> tuple[Eigendistortions, ...]:
    """Search one image after another; on several devices, one on each at the same time."""

    def find_in_turn(images: Array, setting: _Setting, watch: Watch) -> list[Eigendistortions]:
        watched = options._replace(watch=watch)
        return [_find(one, setting, method, watched) for one in images]

    placement = find_placement(images)
    # Of several processes that share the images, the first draws the bar.
    is_shared = placement is not None and placement.is_share
    visible = options.progress and not (is_shared and jax.process_index())
    with ProgressBar(None, "product", visible=visible) as bar, Interrupt() as interrupt:
        watch = Watch(bar.update, interrupt.is_set)
        if placement is None:
            return tuple(find_in_turn(one_copy(images), setting, watch))
        parts = zip(placement.devices, parts_of(images, placement), strict=True)
        searches = [functools.partial(find_in_turn, part, _put(setting, d)) for d, part in parts]
        return tuple(itertools.chain(*run_together(searches, watch)))


def _put(tree: PyTree, device: Device) -> PyTree:
    """Put the arrays of a tree on one device; NumPy arrays stay on the host."""
    return jax.tree.map(
        lambda x: jax.device_put(x, device) if isinstance(x, jax.Array) else x, tree
    )


def _find(
    image: Float[Array, "*shape"], setting: _Setting, method: str, options: Options
) -> Eigendistortions:
    started = time.perf_counter()
    model, noise, subspace, key = setting
    everywhere, lift = linearize(model, image, noise=noise), changes_in(subspace, image)
    check_finite(everywhere.response)
    search = Search(image, everywhere, lift, everywhere @ lift)
    chosen = choose_method(method, search.operator, options)
    watch = options.watch
    takes_steps = METHODS[chosen].is_resumable
    if watch is not None and not takes_steps and watch.is_interrupted():
        # There is no result of a part of the work.
        raise KeyboardInterrupt
    pairs, jacobian, state = METHODS[chosen].find(search, key, options)
    if watch is not None and not takes_steps:
        watch.report(pairs.num_products, {})
    described = dict(k=options.k, which=options.which, rtol=options.rtol)
    described |= dict(noise=noise, subspace=subspace)
    found = Eigendistortions(
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
    # NumPy computes some of the arrays that were found.
    return _put(found, *image.devices()) if image.committed else found


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
