"""What the metrics made of networks share: their call, and the weights of channels."""

import abc
from collections.abc import Mapping, Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._function import AbstractFunction
from .._precision import in_single_precision
from .._types import Scalar
from ..models.networks._tables import Package
from ..models.networks._weights import (
    check_arrays,
    find_package_file,
    read_file,
    read_path,
    read_scope,
    Weights,
)
from ._pair import as_pair, check_colors


class AbstractLearnedMetric(AbstractFunction):
    """A distance between the responses of a network to two images, fitted to people."""

    resize: eqx.AbstractVar[int | None]

    @abc.abstractmethod
    def compare(
        self, img1: Float[Array, "3 height width"], img2: Float[Array, "3 height width"]
    ) -> Scalar:
        """Return the distance between two images in [0, 1]."""

    @in_single_precision("img1", "img2")
    def __call__(
        self,
        img1: Float[Array, "_channels height width"],
        img2: Float[Array, "_channels height width"],
    ) -> Scalar:
        """Compute the distance between two images.

        Args:
            img1: An image of three channels in [0, 1], which the network normalizes. An image of
                one channel is copied to three.
            img2: Another image of the same height, width and dtype.

        Raises:
            ValueError: If the shapes do not fit, or the images are too small for the network.
            TypeError: If the images do not have one floating-point dtype.

        Warns:
            UserWarning: If a value lies outside [0, 1], which is not checked under a
                transformation of JAX.
        """
        return _compare(self, *as_color_pair(img1, img2, self.resize, stacklevel=4))


@eqx.filter_jit
def _compare(metric: AbstractLearnedMetric, img1: Array, img2: Array) -> Scalar:
    return metric.compare(img1, img2)


def channels_last(
    responses: Float[Array, "channel height width"],
) -> Float[Array, "height width channel"]:
    """Return responses in the layout of the convolutions, where means need no transposition."""
    return jnp.moveaxis(responses, 0, -1)


def load_channel_weights(
    given: Weights, shapes: Mapping[str, tuple[int, ...]], packages: Mapping[str, Package]
) -> dict[str, np.ndarray]:
    """Load the weights of channels by their published names.

    Args:
        given: The path of a ``.pth``, ``.pt`` or ``.safetensors`` file, the name of a package, or a
            dictionary of arrays.
        shapes: The shape of each array, by its published name.
        packages: The packages that have them.

    Raises:
        ValueError: If they are missing, damaged, changed, or those of another metric.
    """
    if isinstance(given, Mapping):
        arrays: Mapping[str, ArrayLike] = given
    elif str(given) in packages:
        arrays = _read_package(str(given), packages[str(given)], [*shapes])
    else:
        advice = (
            "channel_weights is the path of a .pth, .pt or .safetensors file, a dictionary of "
            f"arrays, or {' or '.join(map(repr, packages))}."
        )
        arrays = read_path("channel_weights", str(given), "a source of this metric", advice)
    found = {name: np.asarray(array) for name, array in arrays.items()}
    check_arrays("channel_weights", shapes, found, given)
    return found


def _read_package(name: str, package: Package, names: Sequence[str]) -> Mapping[str, np.ndarray]:
    path = find_package_file(name, package)
    if path.suffix != ".ckpt":
        return read_file(path)
    # The layers are numbered, and their arrays have the order of JAX.
    kernels = [
        read_scope(path, f"NetLinLayer_{i}")["Conv_0.kernel"].transpose(3, 2, 0, 1)
        for i in range(len(names))
    ]
    return dict(zip(names, kernels, strict=True))


def as_color_pair(
    img1: ArrayLike, img2: ArrayLike, resize: int | None = None, *, stacklevel: int
) -> tuple[Float[Array, "3 height width"], Float[Array, "3 height width"]]:
    """Check two images, repeat a single channel to three, and make large images smaller.

    Args:
        img1: An image of one or three channels.
        img2: Another image of one or three channels.
        resize: The length of the shorter side of images for which it is longer.
        stacklevel: That of warnings.

    Raises:
        TypeError: If the images do not have one floating-point dtype.
        ValueError: If their shapes do not fit, or they have another number of channels.
    """
    first, second = as_pair(img1, img2, stacklevel=stacklevel + 1)
    check_colors(first.shape[0])
    height, width = first.shape[1:]
    shorter = min(height, width)
    if resize is not None and shorter > resize:
        shape = (first.shape[0], height * resize // shorter, width * resize // shorter)
        first, second = (jax.image.resize(x, shape, "linear") for x in (first, second))
    shape = (3, *first.shape[1:])
    return jnp.broadcast_to(first, shape), jnp.broadcast_to(second, shape)
