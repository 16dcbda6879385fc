"""Checks that an image, a model, a metric or a penalty is what a synthesis can use.

They look at shapes and types, which takes milliseconds; `validate_metric` alone computes. Every
method of synthesis calls those that concern it.
"""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.extend.core import jaxpr_as_fun
from jax.typing import DTypeLike

from ._axes import advise_on_axes, advised_on_axes
from ._precision import refuse_half
from ._rules import checked, COUNT, say_how_to_fit, SIZES
from ._traces import check_program
from ._tree import describe
from ._types import PyTree
from ._warnings import warn_caller


_SHAPE = (1, 16, 16)

# What rounding leaves of 1 - SSIM of an image and itself, and the square root of the epsilon that
# keeps the gradient of distances finite there.
_ZERO = 1e-5 + 5e-7


def validate_input(
    input_tensor: Any,
    no_batch: bool = False,
    *,
    allowed_range: Sequence[float] | None = (0.0, 1.0),
) -> None:
    """Check an image.

    Args:
        input_tensor: An image, of any rank: what shape it has is between it and the model.
        no_batch: Whether to refuse an array of more than three axes, a batch of images most likely.
        allowed_range: Lowest and highest value that raise no warning; None for any.

    Raises:
        TypeError: If it is not an array of real or complex numbers of floating point, or is in half
            precision, in which a synthesis cannot take its small steps.
        ValueError: If it has values that are infinite or not a number, or is a batch.

    Warns:
        UserWarning: If values lie outside of `allowed_range`.

    Example:
        >>> import plenoptax as plx
        >>> plx.validate.validate_input(plx.data.brick())
    """
    dtype = getattr(input_tensor, "dtype", None)
    if dtype is None or not jnp.issubdtype(dtype, jnp.inexact):
        raise TypeError(
            "The image is an array of floating-point numbers, such as plenoptax.load_images "
            f"returns; got {type(input_tensor).__name__ if dtype is None else dtype}."
        )
    refuse_half("The image of a synthesis", dtype)
    if no_batch and input_tensor.ndim > 3:
        raise ValueError(
            "One image is wanted, of shape (channel, height, width); got an array of shape "
            f"{input_tensor.shape}. Take one element, or plenoptax.batch for them all."
            f"{advise_on_axes(input_tensor.shape)}"
        )
    if isinstance(input_tensor, Tracer):
        return
    values = np.asarray(input_tensor)
    if not np.isfinite(values).all():
        raise ValueError("The image has values that are infinite or not a number.")
    if allowed_range is None or np.iscomplexobj(values):
        return
    low, high = allowed_range
    if not values.size:
        return
    lowest, highest = float(values.min()), float(values.max())
    if lowest < low or highest > high:
        warn_caller(
            f"The image has values from {lowest:.3g} to {highest:.3g}, outside of "
            f"[{low:g}, {high:g}]: {say_how_to_fit((lowest, highest), (low, high))}, or give a "
            "penalty of its range."
        )


@checked(image_shape=SIZES)
def validate_model(
    model: Callable,
    image_shape: tuple[int, ...] | None = None,
    image_dtype: DTypeLike = "float32",
) -> None:
    """Check that a model maps an image to arrays, and can be differentiated.

    The model is traced and not evaluated.

    Args:
        model: Any callable of one image.
        image_shape: That of an image the model takes, by default (1, 16, 16).
        image_dtype: That of the image.

    Raises:
        TypeError: If the model is not callable, returns something other than arrays, or changes the
            precision.
        ValueError: If it returns nothing, leaves JAX on the way (by NumPy, or by a decision about
            values), has no gradient with respect to the image, or is stochastic: called twice, it
            computes two different things.

    Warns:
        UserWarning: If a layer of it, such as dropout, is in training mode.

    Example:
        >>> import plenoptax as plx
        >>> plx.validate.validate_model(plx.models.Gaussian(7), image_shape=(1, 64, 64))
    """
    if not callable(model):
        raise TypeError(
            f"The model is a callable from an image to arrays; got {type(model).__name__}."
        )
    image = jax.ShapeDtypeStruct(image_shape or _SHAPE, jnp.dtype(image_dtype))
    _check_training(model)
    with advised_on_axes(image.shape):
        check_program("The model", model, image, check=functools.partial(_check_map, "The model"))


@checked(image_shape=SIZES)
def validate_coarse_to_fine(
    model: Callable,
    image_shape: tuple[int, ...] | None = None,
    *,
    image_dtype: DTypeLike = "float32",
) -> None:
    """Check that a model can be matched scale by scale.

    Args:
        model: A callable of an image and, by name, of ``scales``.
        image_shape: That of an image the model takes, by default (1, 16, 16).
        image_dtype: That of the image.

    Raises:
        AttributeError: If the model has no ``scales``.
        TypeError: If it cannot be called with ``scales``.
        ValueError: If a single one of its scales gives as many numbers as all of them.

    Example:
        >>> import plenoptax as plx
        >>> model = plx.models.PortillaSimoncelli((64, 64), n_scales=2)
        >>> plx.validate.validate_coarse_to_fine(model, image_shape=(1, 64, 64))
    """
    scales = getattr(model, "scales", None)
    if not scales:
        raise AttributeError(
            f"The model ({type(model).__name__}) has no attribute scales, a list of labels from "
            "coarse to fine."
        )
    if "scales" not in inspect.signature(model).parameters:
        raise TypeError(
            f"The model ({type(model).__name__}) cannot be called with scales=[...], which "
            "represents an image by these scales alone."
        )
    image = jax.ShapeDtypeStruct(image_shape or _SHAPE, jnp.dtype(image_dtype))

    def check(traced: Any) -> None:
        whole = [describe(output) for output in traced.out_avals]
        for label in scales:
            part = eqx.filter_eval_shape(lambda x, label=label: model(x, scales=[label]), image)
            if [describe(leaf) for leaf in jax.tree.leaves(part)] == whole:
                raise ValueError(
                    f"The model gives {', '.join(whole)} for scales=[{label!r}] as for all scales: "
                    "it must return fewer numbers for fewer scales."
                )

    check_program("The model, scale by scale,", model, image, check=check)


@checked(image_shape=SIZES)
def validate_metric(
    metric: Callable,
    image_shape: tuple[int, ...] | None = None,
    image_dtype: DTypeLike = "float32",
) -> None:
    """Check that a metric is one number, and smallest for two equal images.

    Args:
        metric: A callable of two images.
        image_shape: That of an image the metric takes, by default (1, 16, 16).
        image_dtype: That of the images.

    Raises:
        TypeError: If the metric does not take two images or does not return an array.
        ValueError: If it does not return one number, if that of equal images is above
            ``1e-5 + 5e-7``, or above (or that of two others below) zero by more than rounding. A
            metric whose parameters are being traced, as in a batch of them, has no values to judge.

    Example:
        >>> import jax.numpy as jnp, plenoptax as plx
        >>> plx.validate.validate_metric(lambda a, b: jnp.mean((a - b) ** 2))
    """
    if not callable(metric):
        raise TypeError(f"The metric is a callable of two images; got {type(metric).__name__}.")
    image = jax.ShapeDtypeStruct(image_shape or _SHAPE, jnp.dtype(image_dtype))
    with advised_on_axes(image.shape):
        check = functools.partial(_check_scalar, "The metric")
        traced = check_program("The metric", metric, image, image, check=check)
    if any(isinstance(part, Tracer) for part in (*jax.tree.leaves(metric), *traced.consts)):
        return
    # Drawn by NumPy, which compiles nothing.
    draws = np.random.default_rng(0).random((5, *image.shape))
    images = [draw.astype(image.dtype) for draw in draws]
    compiled = eqx.filter_jit(metric)
    equal = float(compiled(images[0], images[0]))
    others = [float(compiled(images[0], other)) for other in images[1:]]
    if not abs(equal) <= _ZERO:
        raise ValueError(
            f"The metric of two equal images is {equal:.6g}, but a distance is wanted, 0 there. Of "
            "a similarity take 1 minus it, such as plenoptax.metric.ssim_distance."
        )
    if not min(others) >= min(equal, 0.0):
        raise ValueError(
            f"The metric of two different images is {min(others):.6g}, below that of equal ones "
            f"({equal:.6g}): a distance is wanted."
        )


def validate_loss(loss_function: Callable, representation: PyTree) -> None:
    """Check that a loss maps two representations to one number.

    Args:
        loss_function: A callable of two representations.
        representation: One of them, of which only shapes and dtypes count.

    Raises:
        TypeError: If the loss is not callable or does not return an array.
        ValueError: If it does not return one number, leaves JAX on the way, or computes something
            else than when it was first used.

    Example:
        >>> import jax.numpy as jnp, plenoptax as plx
        >>> plx.validate.validate_loss(plx.loss.mse, jnp.zeros(3))
    """
    if not callable(loss_function):
        raise TypeError(
            f"The loss is a callable of two representations; got {type(loss_function).__name__}."
        )
    shapes = jax.eval_shape(lambda: representation)
    check = functools.partial(_check_scalar, "The loss")
    check_program("The loss", loss_function, shapes, shapes, check=check)


@checked(image_shape=SIZES)
def validate_penalty(
    penalty_function: Callable,
    image_shape: tuple[int, ...] | None = None,
    image_dtype: DTypeLike = "float32",
    *,
    name: str = "penalty",
) -> None:
    """Check that a penalty maps an image to one number and can be differentiated.

    Args:
        penalty_function: A callable of one image.
        image_shape: That of an image, by default (1, 16, 16).
        image_dtype: That of the image.
        name: What to call it in a message.

    Raises:
        TypeError: If the penalty is not callable or changes the precision.
        ValueError: If it does not return one number or has no gradient.

    Example:
        >>> import plenoptax as plx
        >>> plx.validate.validate_penalty(plx.regularize.penalize_range)
    """
    what = f"The {name}"
    if not callable(penalty_function):
        raise TypeError(f"{what} is a callable of an image; got {type(penalty_function).__name__}.")
    image = jax.ShapeDtypeStruct(image_shape or _SHAPE, jnp.dtype(image_dtype))

    def check(traced: Any) -> None:
        _check_scalar(what, traced)
        _check_map(what, traced)

    check_program(what, penalty_function, image, check=check)


@checked(image_shape=SIZES, n_checks=COUNT)
def validate_convert_tensor_dict(
    model: Any,
    image_shape: tuple[int, ...] | None = None,
    n_checks: int = 100,
) -> None:
    """Check that a model's ``convert_to_dict`` and ``convert_to_tensor`` undo each other.

    Args:
        model: A model with these two methods.
        image_shape: That of an image the model takes, by default (1, 16, 16).
        n_checks: How many random representations to convert there and back.

    Raises:
        AttributeError: If the model lacks one of the methods.
        ValueError: If a representation does not come back as it was.

    Example:
        >>> import plenoptax as plx
        >>> model = plx.models.PortillaSimoncelli((64, 64), n_scales=2)
        >>> plx.validate.validate_convert_tensor_dict(model, (1, 64, 64), n_checks=2)
    """
    for method in ("convert_to_dict", "convert_to_tensor"):
        if not hasattr(model, method):
            raise AttributeError(f"The model ({type(model).__name__}) has no method {method}.")
    image = jax.ShapeDtypeStruct(image_shape or _SHAPE, jnp.dtype("float32"))
    shape = eqx.filter_eval_shape(model, image)
    for key in jax.random.split(jax.random.key(0), n_checks):
        representation = jax.random.normal(key, shape.shape, shape.dtype)
        again = model.convert_to_tensor(model.convert_to_dict(representation))
        if not np.array_equal(np.asarray(again), np.asarray(representation)):
            raise ValueError(
                "A representation of the model changes on its way through convert_to_dict and "
                "convert_to_tensor."
            )


def _check_scalar(what: str, traced: Any) -> None:
    outputs = traced.out_avals
    if len(outputs) != 1 or outputs[0].shape != ():
        found = ", ".join(describe(output) for output in outputs)
        raise ValueError(f"{what} returns one number, an array of shape (); got {found}.")


def _check_map(what: str, traced: Any) -> None:
    """Refuse a function of an image that changes its precision or has no derivative."""
    *arrays, image = (
        jax.ShapeDtypeStruct(aval.shape, aval.dtype, weak_type=aval.weak_type)
        for aval in traced.in_avals
    )
    for output in traced.out_avals:
        is_inexact = jnp.issubdtype(output.dtype, jnp.inexact)
        if not is_inexact or jnp.finfo(output.dtype).bits != jnp.finfo(image.dtype).bits:
            raise TypeError(
                f"{what} changes the precision: it maps {image.dtype} to {output.dtype}. Compute "
                "in the image's dtype throughout."
            )
    compute = jaxpr_as_fun(traced)

    def tangent(arrays: list, x: Any, t: Any) -> PyTree:
        return jax.jvp(lambda x: compute(*arrays, x), (x,), (t,))[1]

    # A tangent that has been cut off is a constant, which does not depend on that of the image.
    jaxpr = jax.make_jaxpr(tangent)(arrays, image, image).jaxpr
    reached = {jaxpr.invars[-1]}
    for equation in jaxpr.eqns:
        if any(v in reached for v in equation.invars if not hasattr(v, "val")):
            reached |= set(equation.outvars)
    if not any(v in reached for v in jaxpr.outvars if not hasattr(v, "val")):
        raise ValueError(
            f"{what} has no gradient with respect to the image: something on the way "
            "(stop_gradient, a comparison, integers) cuts it off."
        )


def _check_training(model: Callable) -> None:
    def has_flag(node: Any) -> bool:
        return isinstance(node, eqx.Module) and hasattr(node, "inference")

    nodes = jax.tree.leaves(model, is_leaf=has_flag)
    training = {type(n).__name__ for n in nodes if has_flag(n) and n.inference is False}
    if training:
        warn_caller(
            f"The model is in training mode ({', '.join(sorted(training))}): you probably want "
            "eqx.nn.inference_mode(model)."
        )
