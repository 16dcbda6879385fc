"""What the metrics made of networks share: weights of channels, and images in three channels."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

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
