from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from .._precision import in_single_precision
from .._safe import safe_sqrt
from .._scale import power_of_two
from .._types import PyTree, Scalar


@in_single_precision("synth_rep", "ref_rep")
def mse(synth_rep: PyTree, ref_rep: PyTree, **kwargs: Any) -> Scalar:
    """Average the squared difference over all values of the representations.

    In a pytree every value counts the same, so larger arrays count more.

    Args:
        synth_rep: Representation of the synthesized image.
        ref_rep: Representation of the reference image.
        **kwargs: Ignored.

    Example:
        >>> import jax.numpy as jnp
        >>> print(mse(jnp.array([1.0, 2.0]), jnp.array([1.0, 4.0])))
        2.0
    """
    differences = subtract(synth_rep, ref_rep)
    return sum_of_squares(differences) / sum(d.size for d in differences)


@in_single_precision("synth_rep", "ref_rep")
def l2_norm(synth_rep: PyTree, ref_rep: PyTree, **kwargs: Any) -> Scalar:
    """Compute the Euclidean norm of the difference of the representations.

    Where they are equal, the norm has no derivative, and the gradient is 0.

    Args:
        synth_rep: Representation of the synthesized image.
        ref_rep: Representation of the reference image.
        **kwargs: Ignored.

    Example:
        >>> import jax.numpy as jnp
        >>> print(l2_norm(jnp.array([3.0, 2.0]), jnp.array([0.0, 6.0])))
        5.0
        >>> synthesized = {"mean": jnp.array(3.0), "band": jnp.array([1.0, 2.0])}
        >>> reference = {"mean": jnp.array(1.0), "band": jnp.array([0.0, 0.0])}
        >>> print(l2_norm(synthesized, reference))
        3.0
    """
    return safe_sqrt(sum_of_squares(subtract(synth_rep, ref_rep)))


@in_single_precision("synth_rep", "ref_rep")
def relative_sse(synth_rep: PyTree, ref_rep: PyTree, **kwargs: Any) -> Scalar:
    """Divide the sum of squared differences by the sum of squares of the reference.

    The loss does not depend on the units of the representation. If the reference is zero
    everywhere, or its sum of squares is below the smallest normal number (1e-38 in float32), the
    sum of squared differences is returned.

    Args:
        synth_rep: Representation of the synthesized image.
        ref_rep: Representation of the reference image.
        **kwargs: Ignored.

    Example:
        >>> import jax.numpy as jnp
        >>> print(relative_sse(jnp.array([1.0, 2.0]), jnp.array([1.0, 1.0])))
        0.5
    """
    errors = sum_of_squares(subtract(synth_rep, ref_rep))
    reference = sum_of_squares([jnp.asarray(leaf) for leaf in jax.tree.leaves(ref_rep)])
    is_usable = reference >= jnp.finfo(reference.dtype).tiny
    scale = power_of_two(reference)
    return errors / scale / jnp.where(is_usable, reference / scale, 1)


def subtract(synth_rep: PyTree, ref_rep: PyTree) -> list[Array]:
    synthesized, structure = jax.tree.flatten(synth_rep)
    reference, wanted = jax.tree.flatten(ref_rep)
    if structure != wanted:
        raise ValueError(
            f"The representations must have the same structure, got {structure} for the "
            f"synthesized image and {wanted} for the reference."
        )
    if not reference:
        raise ValueError("The representations must contain at least one array, got none.")
    differences = []
    for x, y in zip(map(jnp.asarray, synthesized), map(jnp.asarray, reference), strict=True):
        if x.shape != y.shape:
            raise ValueError(
                f"The representations must have the same shape, got {x.shape} for the synthesized "
                f"image and {y.shape} for the reference."
            )
        for dtype in (x.dtype, y.dtype):
            if not jnp.issubdtype(dtype, jnp.inexact):
                raise TypeError(f"Representations must be of floating point, got {dtype}.")
        differences.append(x - y)
    return differences


def sum_of_squares(arrays: list[Array]) -> Scalar:
    total = jnp.zeros((), jnp.finfo(arrays[0].dtype).dtype)
    for array in arrays:
        squares = array.real**2 + array.imag**2 if jnp.iscomplexobj(array) else array**2
        total = total + jnp.sum(squares)
    return total
