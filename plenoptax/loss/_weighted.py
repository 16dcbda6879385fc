import warnings
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._compiled import call_compiled, compiled
from .._function import AbstractFunction
from .._precision import in_single_precision, refuse_half
from .._safe import safe_divisor, safe_sqrt
from .._tree import name_leaf
from .._types import PyTree, Scalar
from ._differences import subtract, sum_of_squares


@final
class WeightedL2Norm(AbstractFunction):
    """The Euclidean norm of the weighted difference of two representations.

    Attributes:
        weights: One weight for each value of the representation: an array, or a tree of arrays as
            the model returns it. A weight of 2 makes a difference count twice in the norm, and 0
            removes it.

    Example:
        >>> import jax.numpy as jnp
        >>> loss = WeightedL2Norm(jnp.array([1.0, 0.0]))
        >>> print(loss(jnp.array([3.0, 5.0]), jnp.array([1.0, 1.0])))
        2.0
        >>> loss = WeightedL2Norm({"first": jnp.array([2.0]), "second": jnp.array([1.0])})
        >>> synthesized = {"first": jnp.array([3.0]), "second": jnp.array([4.0])}
        >>> reference = {"first": jnp.array([1.0]), "second": jnp.array([1.0])}
        >>> print(loss(synthesized, reference))
        5.0
    """

    weights: PyTree

    @in_single_precision("synth_rep", "ref_rep")
    def __call__(self, synth_rep: PyTree, ref_rep: PyTree) -> Scalar:
        """Compare two representations.

        Args:
            synth_rep: Representation of the synthesized image.
            ref_rep: Representation of the reference image.

        Raises:
            ValueError: If a representation does not have the structure and shapes of the weights.
        """
        return safe_sqrt(sum_of_squares(jax.tree.leaves(self.weigh(synth_rep, ref_rep))))

    @in_single_precision("synth_rep", "ref_rep")
    def weigh(self, synth_rep: PyTree, ref_rep: PyTree) -> PyTree:
        """Compute the weighted difference of two representations, whose norm is the loss."""
        differences = subtract(synth_rep, ref_rep)
        structure, wanted = jax.tree.structure(ref_rep), jax.tree.structure(self.weights)
        if structure != wanted:
            raise ValueError(
                f"The representations must have the structure of the weights, {wanted}, got "
                f"{structure}. Make the loss with this model."
            )
        weighted = []
        for difference, weights in zip(differences, jax.tree.leaves(self.weights), strict=True):
            if difference.shape != weights.shape:
                raise ValueError(
                    f"The representations must have the shape of the weights, {weights.shape}, "
                    f"got {difference.shape}. Make the loss with this model and an image of this "
                    "shape."
                )
            weighted.append(jnp.asarray(weights, difference.dtype) * difference)
        return jax.tree.unflatten(structure, weighted)


def groupwise_relative_l2_norm_factory(
    model: Any,
    image: Float[Array, "..."],
    reweighting_dict: Mapping[Any, ArrayLike] | None = None,
) -> WeightedL2Norm:
    """Make a loss in which each group of statistics counts relative to its own norm.

    Groups may differ in scale by orders of magnitude, and the largest would dominate an l2 norm.
    Here each group is divided by its norm on ``image``, over all channels together.

    If the representation is a tree of arrays, such as the dictionary of
    `plenoptax.models.features.FeatureExtractor`, each array is a group, named by its path: each
    layer of a network counts the same. For one layer this is the loss of Feather et al., the norm
    of the difference over that of the target.

    Args:
        model: A model that returns a tree of arrays, or one array and has ``convert_to_dict``,
            which divides it into named groups of any shape, and ``convert_to_tensor``, its inverse.
        image: The target image.
        reweighting_dict: Factors for some of the groups, applied after the normalization: numbers,
            or arrays that broadcast to the group. The dictionary is not changed.

    Returns:
        The loss, a function of the synthesized and the reference representation. A group that is
        zero everywhere on ``image`` is not divided. NaN values are ignored in a norm.

    Raises:
        ValueError: If ``reweighting_dict`` has a key that is missing in the representation, or a
            value that does not broadcast to its group.
        TypeError: If the model returns one array and lacks one of the two methods, or the image is
            in half precision.

    References:
        Feather, Leclerc, Madry and McDermott (2023), Model metamers reveal divergent invariances
        between biological and artificial neural networks, Nature Neuroscience 26, 2017-2034.

    Example:
        >>> import jax.numpy as jnp
        >>> class TwoHalves:
        ...     def __call__(self, image):
        ...         return image.ravel()
        ...     def convert_to_dict(self, representation):
        ...         return {"first": representation[:2], "second": representation[2:]}
        ...     def convert_to_tensor(self, groups):
        ...         return jnp.concatenate([groups["first"], groups["second"]])
        >>> model, image = TwoHalves(), jnp.array([[[3.0, 4.0, 0.0, 8.0]]])
        >>> loss = groupwise_relative_l2_norm_factory(model, image)
        >>> print(loss.weights)
        [0.2   0.2   0.125 0.125]
        >>> print(f"{loss(model(2 * image), model(image)):.4f}")
        1.4142
        >>> layers = lambda image: {"first": image, "second": 10 * image}
        >>> loss = groupwise_relative_l2_norm_factory(layers, image, {"second": 0.0})
        >>> print(loss(layers(1.5 * image), layers(image)))
        0.5
    """
    refuse_half("The target image of a loss", image.dtype)
    representation = call_compiled(model, image)
    is_tree = not isinstance(representation, jax.Array)
    if is_tree:
        paths, structure = jax.tree_util.tree_flatten_with_path(representation)
        groups = {name_leaf(path): leaf for path, leaf in paths}
    else:
        _check_convertible(model)
        groups = model.convert_to_dict(representation)
    factors = _check_keys(reweighting_dict, groups)
    weights = {}
    for key, values in groups.items():
        norm = safe_sqrt(sum_of_squares([jnp.where(jnp.isnan(values), 0, values)]))
        weights[key] = _fill(values, factors.get(key, 1), key) / safe_divisor(norm)
    if is_tree:
        return WeightedL2Norm(jax.tree.unflatten(structure, list(weights.values())))
    return WeightedL2Norm(_to_tensor(model, OrderedDict(weights)))


def portilla_simoncelli_loss_factory(
    model: Any,
    image: Float[Array, "..."],
    reweighting_dict: Mapping[Any, ArrayLike] | None = None,
) -> WeightedL2Norm:
    """Make the loss with which metamers of the Portilla-Simoncelli model converge best.

    The minimum and maximum of the pixels have weight 0, because their gradient affects single
    pixels. The variance of the highpass residual, which is small, has weight 100. All other
    statistics have weight 1.

    Args:
        model: The ``PortillaSimoncelli`` model.
        image: The target image, or any image of its shape and dtype: only these are used.
        reweighting_dict: Weights for some of the groups of ``model.convert_to_dict``: numbers, or
            arrays that broadcast to the group. They replace the weights above. The dictionary is
            not changed.

    Returns:
        The loss, a function of the synthesized and the reference representation.

    Raises:
        ValueError: If ``reweighting_dict`` has a key that is missing in the representation, or a
            value that does not broadcast to its group; or if a channel does not have six pixel
            statistics and one highpass variance, and ``reweighting_dict`` does not weight them.
        TypeError: If the model lacks ``convert_to_dict`` or ``convert_to_tensor``, or the image is
            in half precision.

    Warns:
        UserWarning: If the representation has no ``"pixel_statistics"`` or no
            ``"var_highpass_residual"``.

    Example:
        >>> import jax.numpy as jnp
        >>> class PixelStatistics:
        ...     def __call__(self, image):
        ...         return jnp.zeros((1, 7))
        ...     def convert_to_dict(self, representation):
        ...         return {"pixel_statistics": representation[:, :6],
        ...                 "var_highpass_residual": representation[:, 6:]}
        ...     def convert_to_tensor(self, groups):
        ...         return jnp.concatenate(list(groups.values()), axis=-1)
        >>> loss = portilla_simoncelli_loss_factory(PixelStatistics(), jnp.ones((1, 8, 8)))
        >>> print(loss.weights)
        [[  1.   1.   1.   1.   0.   0. 100.]]
    """
    refuse_half("The target image of a loss", image.dtype)
    _check_convertible(model)
    representation = eqx.filter_eval_shape(model, image)
    groups = eqx.filter_eval_shape(lambda m, r: m.convert_to_dict(r), model, representation)
    factors = _check_keys(reweighting_dict, groups)
    for key, weight in (("pixel_statistics", [1, 1, 1, 1, 0, 0]), ("var_highpass_residual", [100])):
        if key not in groups:
            warnings.warn(
                f"The representation has no {key!r}, so it is not reweighted. If the model is not "
                "PortillaSimoncelli, groupwise_relative_l2_norm_factory may suit it better.",
                stacklevel=2,
            )
        elif key not in factors:
            if groups[key].shape[-1] != len(weight):
                raise ValueError(
                    f"The last axis of {key!r} must have the size {len(weight)}, got "
                    f"{groups[key].shape[-1]}. Give its weight in reweighting_dict."
                )
            factors[key] = np.array(weight)
    weights = {key: _fill(group, factors.get(key, 1), key) for key, group in groups.items()}
    return WeightedL2Norm(_to_tensor(model, OrderedDict(weights)))


@compiled(lambda *_: 0)
def _to_tensor(model: Any, groups: Mapping[Any, ArrayLike]) -> Array:
    # Compiled as one function, because its small operations take seconds to compile one by one.
    return model.convert_to_tensor(groups)


def _check_convertible(model: Any) -> None:
    for method in ("convert_to_dict", "convert_to_tensor"):
        if not callable(getattr(model, method, None)):
            raise TypeError(
                f"The model must have a method {method} that defines the groups of its "
                f"representation, got {type(model).__name__}. Return a dictionary of arrays, or "
                "use plenoptax.loss.l2_norm instead."
            )


def _check_keys(
    reweighting_dict: Mapping[Any, ArrayLike] | None, groups: Mapping[Any, Any]
) -> dict[Any, ArrayLike]:
    factors = dict(reweighting_dict or {})
    extra = [key for key in factors if key not in groups]
    if extra:
        raise ValueError(
            f"The keys of reweighting_dict must be among those of the representation, "
            f"{list(groups)}, got {extra}."
        )
    return factors


def _fill(values: Array | jax.ShapeDtypeStruct, factor: ArrayLike, key: Any) -> np.ndarray:
    factor = np.asarray(factor, jnp.finfo(values.dtype).dtype)
    try:
        return np.broadcast_to(factor, values.shape)
    except ValueError as error:
        raise ValueError(
            f"The weight of {key!r} must broadcast to the shape {values.shape} of its group, got "
            f"the shape {factor.shape}."
        ) from error
