from typing import final

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from .._types import PyTree
from ..process import circular_gaussian2d, gaussian_blur, same_padding


@final
class Identity(eqx.Module):
    """The model whose representation is the image itself.

    Metamers of it are the image; with it, a model metric or a MAD competition is about pixels.

    Example:
        >>> import jax.numpy as jnp
        >>> Identity()(jnp.zeros((1, 2, 2))).shape
        (1, 2, 2)
    """

    def __call__(self, x: PyTree) -> PyTree:
        """Return the image."""
        return x


@final
class Gaussian(eqx.Module):
    """Blur by isotropic Gaussian windows of sum 1, one output channel for each.

    Attributes:
        std: Standard deviations in pixels, one for each channel. Its sign does not matter, so that
            an optimizer may cross zero.
        kernel_size: Height and width of the windows in pixels.
        pad_mode: How the image goes on beyond its edges.

    Example:
        >>> import jax.numpy as jnp
        >>> model = Gaussian(kernel_size=7, std=[1.0, 2.0])
        >>> model(jnp.ones((1, 16, 16))).shape
        (2, 16, 16)
    """

    std: Float[Array, " channel"]
    kernel_size: tuple[int, int] = eqx.field(static=True)
    pad_mode: str = eqx.field(static=True)

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        std: ArrayLike | list[float] = 3.0,
        pad_mode: str = "reflect",
        out_channels: int | None = None,
    ):
        """Choose the windows.

        Args:
            kernel_size: Height and width of the windows in pixels, or one number for both.
            std: Standard deviations in pixels: a scalar, or one value for each channel.
            pad_mode: ``"reflect"``, ``"replicate"``, ``"circular"`` or ``"constant"`` (zeros), as
                in ``plenoptax.process.same_padding``.
            out_channels: Number of windows. By default, as many as ``std`` has values.

        Raises:
            ValueError: If ``kernel_size`` or ``out_channels`` are not positive integers, ``std``
                is not positive or not of this length, or ``pad_mode`` is unknown.
        """
        windows = circular_gaussian2d(kernel_size, std, out_channels)
        # Nothing is padded here: an unknown mode is refused before there is an image.
        same_padding(jnp.zeros((1, 1)), 1, pad_mode=pad_mode)
        out_channels, _, height, width = windows.shape
        std = jnp.asarray(std, jnp.result_type(float))
        self.std = jnp.broadcast_to(std, (out_channels,))
        self.kernel_size = (height, width)
        self.pad_mode = pad_mode

    @property
    def filt(self) -> Float[Array, "channel 1 height width"]:
        """The windows, as ``plenoptax.process.circular_gaussian2d`` gives them."""
        return circular_gaussian2d(self.kernel_size, self.std)

    def __call__(
        self, x: Float[Array, "*channel height width"]
    ) -> Float[Array, "out_channels height width"]:
        """Blur an image of one channel, with each of the windows.

        Args:
            x: Image of shape (1, height, width).

        Raises:
            ValueError: If the image has another number of channels or axes.
        """
        if x.ndim != 3 or x.shape[0] != 1:
            raise ValueError(
                f"Gaussian takes an image of shape (1, height, width), got {x.shape}. Map over a "
                "batch with jax.vmap, and blur several channels with "
                "plenoptax.process.gaussian_blur."
            )
        return gaussian_blur(x, self.kernel_size, self.std, pad_mode=self.pad_mode)
