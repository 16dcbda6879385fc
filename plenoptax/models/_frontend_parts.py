import warnings
from typing import Any, TYPE_CHECKING

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._types import Key
from ..process import gaussian_blur
from ._naive import CenterSurround, Gaussian


if TYPE_CHECKING:
    import matplotlib.figure


CITATION = """@inproceedings{berardino2017eigen,
  author = {Berardino, Alexander and Laparra, Valero and Ball{\\'e}, Johannes and
            Simoncelli, Eero P.},
  title = {Eigen-Distortions of Hierarchical Representations},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {30}, year = {2017}
}"""


def normalize(
    response: Float[Array, "channel height width"],
    scalar: Float[Array, " channel"],
    pool: Float[Array, "channel height width"],
) -> Float[Array, "channel height width"]:
    return response / (1 + jnp.asarray(scalar, response.dtype).reshape(-1, 1, 1) * pool)


def control_gain(
    model: Any, x: Float[Array, "1 height width"]
) -> Float[Array, "out_channels height width"]:
    """Compute the response of `LuminanceContrastGainControl` or `OnOff` before its activation."""
    linear, luminance = model.center_surround(x), model.luminance(x)
    normed = normalize(linear, model.luminance_scalar, luminance)
    gaussian = model.contrast
    # Each channel is blurred by its own Gaussian.
    power = gaussian_blur(normed**2, gaussian.kernel_size, gaussian.std, pad_mode=gaussian.pad_mode)
    is_zero = power <= 0
    contrast = jnp.where(is_zero, 0, jnp.sqrt(jnp.where(is_zero, 1, power))) + 1e-6
    return normalize(normed, model.contrast_scalar, contrast)


def gain_scalars(
    pretrained: bool, key: Key | None, *values: list[float]
) -> list[Float[Array, " channel"]]:
    """Return the fitted gain scalars, or random ones of the same shapes."""
    dtype = jnp.result_type(float)
    if pretrained:
        return [jnp.asarray(value, dtype) for value in values]
    if key is None:
        raise ValueError(
            "key must be given for the random gain scalars of a model with pretrained=False, got "
            "None. Give key=jax.random.key(0), or pretrained=True with kernel_size=31."
        )
    keys = jax.random.split(key, len(values))
    return [
        jax.random.uniform(key, (len(value),), dtype, 0, 10)
        for key, value in zip(keys, values, strict=True)
    ]


def check_pretrained(
    kernel_size: int | tuple[int, int], amplitude_ratio: float, on_center: bool = True
) -> None:
    if kernel_size not in (31, (31, 31)):
        raise ValueError(
            f"kernel_size must be 31 with pretrained=True, got {kernel_size}. Use 31, the size "
            "that the values were fitted with."
        )
    if amplitude_ratio != 1.25:
        raise ValueError(
            f"amplitude_ratio must be 1.25 with pretrained=True, got {amplitude_ratio}."
        )
    if not on_center:
        warnings.warn("The pretrained values were fitted with on_center=True.", stacklevel=5)


def show_filters(
    parts: list[CenterSurround | Gaussian], **kwargs: Any
) -> "matplotlib.figure.Figure":
    from ..plot import imshow

    return imshow(jnp.concatenate([part.filt for part in parts]), **kwargs)
