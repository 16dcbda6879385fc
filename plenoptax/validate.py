"""Checks that a synthesis can use an image, a model, a loss, a metric or a penalty.

The checks look at shapes and types, which takes milliseconds; only `validate_metric` computes.
Every method of synthesis calls the checks that concern it.
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
from ._placement import on_host
from ._precision import refuse_half
from ._rules import checked, COUNT, say_how_to_fit, SIZES
from ._traces import check_program
from ._tree import describe
from ._types import PyTree
from ._warnings import warn_caller


_SHAPE = (1, 16, 16)

# At equal images, 1e-5 is the square root of the epsilon that keeps the gradient of distances
# finite; 5e-7 is the rounding error of 1 - SSIM.
_ZERO = 1e-5 + 5e-7


def validate_input(
    input_tensor: Any,
    no_batch: bool = False,
    *,
    allowed_range: Sequence[float] | None = (0.0, 1.0),
) -> None:
    """Check an image.

    Args:
        input_tensor: An image of any rank; only the model decides which shapes it takes.
        no_batch: Whether to refuse an array of more than three axes, most likely a batch of images.
        allowed_range: The lowest and the highest value that cause no warning; None allows any.

    Raises:
        TypeError: If it is not an array of real or complex floating-point numbers, or is in half
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
            "The image must be an array of floating-point numbers, "
            f"got {type(input_tensor).__name__ if dtype is None else dtype}. Load it with "
            "plenoptax.load_images, or convert it."
        )
    refuse_half("The image of a synthesis", dtype)
    if 0 in input_tensor.shape:
        raise ValueError(
            f"The image must have at least one pixel, got the shape {input_tensor.shape}."
        )
    if no_batch and input_tensor.ndim > 3:
        raise ValueError(
            "The image must be a single one, of shape (channel, height, width), got an array of "
            f"shape {input_tensor.shape}. Take one element, or use plenoptax.batch for all."
            f"{advise_on_axes(input_tensor.shape)}"
        )
    if isinstance(input_tensor, Tracer):
        return
    values = on_host(input_tensor)
    if not np.isfinite(values).all():
        raise ValueError(
            "The image must have finite values, got values that are infinite or not a number."
        )
    if allowed_range is None or np.iscomplexobj(values):
        return
    low, high = allowed_range
    lowest, highest = float(values.min()), float(values.max())
    if lowest < low or highest > high:
        warn_caller(
            f"The image has values from {lowest:.3g} to {highest:.3g}, outside of "
            f"[{low:g}, {high:g}]: {say_how_to_fit((lowest, highest), (low, high))}, or give a "
            "penalty that allows its range."
        )


@checked(image_shape=SIZES)
def validate_model(
    model: Callable,
    image_shape: tuple[int, ...] | None = None,
    image_dtype: DTypeLike = "float32",
) -> None:
    """Check that a model maps an image to arrays, and can be differentiated.

    JAX traces the model and does not evaluate it.

    Args:
        model: Any callable of one image.
        image_shape: The shape of an image that the model takes, by default (1, 16, 16).
        image_dtype: The dtype of the image.

    Raises:
        TypeError: If the model is not callable, returns something other than arrays, or changes the
            precision.
        ValueError: If it returns nothing, leaves JAX on the way (by NumPy, or by a decision that
            depends on values), has no gradient with respect to the image, or is stochastic: two
            calls compute two different things.

    Warns:
        UserWarning: If one of its layers, such as dropout, is in training mode.

    Example:
        >>> import plenoptax as plx
        >>> plx.validate.validate_model(plx.models.Gaussian(7), image_shape=(1, 64, 64))
    """
    if not callable(model):
        raise TypeError(
            f"The model must be a callable from an image to arrays, got {type(model).__name__}."
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
        model: A callable of an image and of the keyword argument ``scales``.
        image_shape: The shape of an image that the model takes, by default (1, 16, 16).
        image_dtype: The dtype of the image.

    Raises:
        AttributeError: If the model has no ``scales``.
        TypeError: If it cannot be called with ``scales``.
        ValueError: If its representation by a single scale is as large as that by all scales.

    Example:
        >>> import plenoptax as plx
        >>> model = plx.models.PortillaSimoncelli((64, 64), n_scales=2)
        >>> plx.validate.validate_coarse_to_fine(model, image_shape=(1, 64, 64))
    """
    scales = getattr(model, "scales", None)
    if not scales:
        raise AttributeError(
            "The model must list the labels of its scales, from coarse to fine, got "
            f"{type(model).__name__} with no attribute scales."
        )
    if "scales" not in inspect.signature(model).parameters:
        raise TypeError(
            "The model must take scales=[...] and represent an image by these scales alone, got "
            f"{type(model).__name__}, which cannot be called with scales."
        )
    image = jax.ShapeDtypeStruct(image_shape or _SHAPE, jnp.dtype(image_dtype))

    def check(traced: Any) -> None:
        whole = [describe(output) for output in traced.out_avals]
        for label in scales:
            part = eqx.filter_eval_shape(lambda x, label=label: model(x, scales=[label]), image)
            if [describe(leaf) for leaf in jax.tree.leaves(part)] == whole:
                raise ValueError(
                    "The model must return fewer values for fewer scales, got "
                    f"{', '.join(whole)} for scales=[{label!r}] and for all scales."
                )

    check_program("The model, scale by scale,", model, image, check=check)


@checked(image_shape=SIZES)
def validate_metric(
    metric: Callable,
    image_shape: tuple[int, ...] | None = None,
    image_dtype: DTypeLike = "float32",
) -> None:
    """Check that a metric returns one number, which is smallest for two equal images.

    Args:
        metric: A callable of two images.
        image_shape: The shape of an image that the metric takes, by default (1, 16, 16).
        image_dtype: The dtype of the images.

    Raises:
        TypeError: If the metric does not take two images or does not return an array.
        ValueError: If it does not return one number, if its absolute value for two equal images is
            above ``1e-5 + 5e-7``, or if a value for two different images is below both 0 and that
            of equal images. Values are not checked while JAX traces parameters of the metric, as in
            a batch of metrics.

    Example:
        >>> import jax.numpy as jnp, plenoptax as plx
        >>> plx.validate.validate_metric(lambda a, b: jnp.mean((a - b) ** 2))
    """
    if not callable(metric):
        raise TypeError(
            f"The metric must be a callable of two images, got {type(metric).__name__}."
        )
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
            "The metric must be a distance, which is 0 for two equal images, got a metric that for "
            f"two equal images is {equal:.6g}. Give 1 minus a similarity, such as "
            "plenoptax.metric.ssim_distance."
        )
    if not min(others) >= min(equal, 0.0):
        raise ValueError(
            "The metric must be a distance, which is smallest for two equal images, got "
            f"{min(others):.6g} for two different images and {equal:.6g} for equal ones."
        )


def validate_loss(loss_function: Callable, representation: PyTree) -> None:
    """Check that a loss maps two representations to one number.

    Args:
        loss_function: A callable of two representations.
        representation: A representation; only its shapes and dtypes count.

    Raises:
        TypeError: If the loss is not callable or does not return an array.
        ValueError: If it does not return one number, leaves JAX on the way, or does not compute
            the same as in its first use.

    Example:
        >>> import jax.numpy as jnp, plenoptax as plx
        >>> plx.validate.validate_loss(plx.loss.mse, jnp.zeros(3))
    """
    if not callable(loss_function):
        raise TypeError(
            "The loss must be a callable of two representations, got "
            f"{type(loss_function).__name__}."
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
        image_shape: The shape of an image, by default (1, 16, 16).
        image_dtype: The dtype of the image.
        name: The name of the penalty in messages.

    Raises:
        TypeError: If the penalty is not callable or changes the precision.
        ValueError: If it does not return one number or has no gradient.

    Example:
        >>> import plenoptax as plx
        >>> plx.validate.validate_penalty(plx.regularize.penalize_range)
    """
    what = f"The {name}"
    if not callable(penalty_function):
        raise TypeError(
            f"{what} must be a callable of an image, got {type(penalty_function).__name__}."
        )
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
        image_shape: The shape of an image that the model takes, by default (1, 16, 16).
        n_checks: The number of random representations to convert there and back.

    Raises:
        AttributeError: If the model lacks one of the methods.
        ValueError: If a representation comes back changed.

    Example:
        >>> import plenoptax as plx
        >>> model = plx.models.PortillaSimoncelli((64, 64), n_scales=2)
        >>> plx.validate.validate_convert_tensor_dict(model, (1, 64, 64), n_checks=2)
    """
    for method in ("convert_to_dict", "convert_to_tensor"):
        if not hasattr(model, method):
            raise AttributeError(
                "The model must have the methods convert_to_dict and convert_to_tensor, got "
                f"{type(model).__name__} with no method {method}."
            )
    image = jax.ShapeDtypeStruct(image_shape or _SHAPE, jnp.dtype("float32"))
    shape = eqx.filter_eval_shape(model, image)
    for key in jax.random.split(jax.random.key(0), n_checks):
        representation = jax.random.normal(key, shape.shape, shape.dtype)
        again = model.convert_to_tensor(model.convert_to_dict(representation))
        if not np.array_equal(np.asarray(again), np.asarray(representation)):
            raise ValueError(
                "A representation must come back unchanged from convert_to_dict and "
                "convert_to_tensor, got a changed one."
            )


def _check_scalar(what: str, traced: Any) -> None:
    outputs = traced.out_avals
    if len(outputs) != 1 or outputs[0].shape != ():
        found = ", ".join(describe(output) for output in outputs)
        raise ValueError(f"{what} must return one number, an array of shape (), got {found}.")


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
                f"{what} must keep the precision of the image, got a map from {image.dtype} to "
                f"{output.dtype}. Compute in the dtype of the image throughout."
            )
    compute = jaxpr_as_fun(traced)

    def tangent(arrays: list, x: Any, t: Any) -> PyTree:
        return jax.jvp(lambda x: compute(*arrays, x), (x,), (t,))[1]

    # A tangent that was cut off is a constant: it does not depend on the tangent of the image.
    jaxpr = jax.make_jaxpr(tangent)(arrays, image, image).jaxpr
    reached = {jaxpr.invars[-1]}
    for equation in jaxpr.eqns:
        if any(v in reached for v in equation.invars if not hasattr(v, "val")):
            reached |= set(equation.outvars)
    if not any(v in reached for v in jaxpr.outvars if not hasattr(v, "val")):
        raise ValueError(
            f"{what} must have a gradient with respect to the image, got no gradient. Remove what "
            "cuts it off, such as stop_gradient, a comparison, or integers."
        )


def _check_training(model: Callable) -> None:
    def has_flag(node: Any) -> bool:
        return isinstance(node, eqx.Module) and hasattr(node, "inference")

    nodes = jax.tree.leaves(model, is_leaf=has_flag)
    training = {type(n).__name__ for n in nodes if has_flag(n) and n.inference is False}
    if training:
        warn_caller(
            f"The model is in training mode ({', '.join(sorted(training))}). You probably want "
            "eqx.nn.inference_mode(model)."
        )
