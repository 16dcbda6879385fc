from typing import final

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from .._axes import advise_on_axes
from .._function import AbstractFunction
from .._precision import in_single_precision
from .._rules import checked, COUNT, POSITIVE, Real, SIZES
from .._types import Key, PyTree, Scalar
from ..process import circular_gaussian2d, correlate, gaussian_blur, same_padding


@final
class Identity(AbstractFunction):
    """The model whose representation is the image itself.

    The only metamer of an image is the image itself. With this model, a model metric or a MAD
    competition compares pixels.

    Example:
        >>> import jax.numpy as jnp
        >>> Identity()(jnp.zeros((1, 2, 2))).shape
        (1, 2, 2)
    """

    def __call__(self, x: PyTree) -> PyTree:
        """Return the image."""
        return x


@final
class Gaussian(AbstractFunction):
    """A blur with isotropic Gaussian windows of sum 1, one output channel for each window.

    Attributes:
        std: Standard deviations in pixels, one for each channel. Their signs do not matter, so an
            optimizer may cross zero.
        kernel_size: Height and width of the windows in pixels.
        pad_mode: How the image is padded at its edges.

    Example:
        >>> import jax.numpy as jnp
        >>> model = Gaussian(kernel_size=7, std=[1.0, 2.0])
        >>> model(jnp.ones((1, 16, 16))).shape
        (2, 16, 16)
    """

    std: Float[Array, " channel"]
    kernel_size: tuple[int, int] = eqx.field(static=True)
    pad_mode: str = eqx.field(static=True)

    @checked(kernel_size=SIZES, std=POSITIVE, out_channels=COUNT)
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
            ValueError: If ``kernel_size`` or ``out_channels`` is not a positive integer, ``std``
                is not positive or not of this length, or ``pad_mode`` is unknown.
        """
        # This computes nothing: it rejects bad arguments before the first image is given.
        windows = jax.eval_shape(lambda: circular_gaussian2d(kernel_size, std, out_channels))
        jax.eval_shape(lambda: same_padding(jnp.zeros((1, 1)), 1, pad_mode=pad_mode))
        out_channels, _, height, width = windows.shape
        std = jnp.asarray(std, jnp.result_type(float))
        self.std = jnp.broadcast_to(std, (out_channels,))
        self.kernel_size = (height, width)
        self.pad_mode = pad_mode

    @property
    def filt(self) -> Float[Array, "channel 1 height width"]:
        """The windows, as returned by ``plenoptax.process.circular_gaussian2d``."""
        return circular_gaussian2d(self.kernel_size, self.std)

    @in_single_precision("x")
    def __call__(
        self, x: Float[Array, "*channel height width"]
    ) -> Float[Array, "out_channels height width"]:
        """Blur an image of shape (1, height, width) with each window."""
        check_one_channel(x)
        return gaussian_blur(x, self.kernel_size, self.std, pad_mode=self.pad_mode)


@final
class CenterSurround(AbstractFunction):
    """Filters that are differences of Gaussians, one output channel for each filter.

    A filter is ``amplitude_ratio * (center - surround)``, where center and surround are Gaussian
    windows of sum 1. An off-center filter has the opposite sign. The sum of a filter is 0, so a
    constant image gives no response. ``amplitude_ratio`` is only a gain.

    Change parameters with ``equinox.tree_at``, also inside another model. The filters are computed
    from them at every call, which takes almost no time, so they are never out of date.

    Attributes:
        center_std: Standard deviations of the centers in pixels, one for each channel. The sign
            does not matter, here and in ``surround_std``.
        surround_std: Standard deviations of the surrounds in pixels.
        amplitude_ratio: The gain.
        on_center: For each channel, whether the center excites and the surround inhibits.
        kernel_size: Height and width of the windows in pixels.
        pad_mode: How the image is padded at its edges.

    Example:
        >>> import equinox as eqx
        >>> import jax.numpy as jnp
        >>> model = CenterSurround(31, on_center=[True, False])
        >>> model(jnp.ones((1, 48, 48))).shape
        (2, 48, 48)
        >>> wider = eqx.tree_at(lambda m: m.center_std, model, jnp.array([2.0, 3.0]))
        >>> wider.center_std.tolist()
        [2.0, 3.0]
    """

    center_std: Float[Array, " channel"]
    surround_std: Float[Array, " channel"]
    amplitude_ratio: Scalar
    on_center: tuple[bool, ...] = eqx.field(static=True)
    kernel_size: tuple[int, int] = eqx.field(static=True)
    pad_mode: str = eqx.field(static=True)

    @checked(
        kernel_size=SIZES,
        amplitude_ratio=Real(at_least=1),
        center_std=POSITIVE,
        surround_std=POSITIVE,
        out_channels=COUNT,
    )
    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        on_center: bool | list[bool] | tuple[bool, ...] = True,
        amplitude_ratio: float = 1.25,
        center_std: ArrayLike | list[float] = 1.0,
        surround_std: ArrayLike | list[float] = 4.0,
        out_channels: int | None = None,
        pad_mode: str = "reflect",
    ):
        """Choose the filters.

        Args:
            kernel_size: Height and width of the windows in pixels, or one number for both.
            on_center: Whether the center excites: one value for all channels, or a list.
            amplitude_ratio: The gain, at least 1.
            center_std: Standard deviation of the center in pixels: a scalar, or a list.
            surround_std: Standard deviation of the surround in pixels: a scalar, or a list.
            out_channels: Number of filters. By default, as many as the lists have values.
            pad_mode: How the image is padded at its edges, as in ``Gaussian``.

        Raises:
            ValueError: If the lists differ in length, or an argument is out of range.
        """
        lists = {"on_center": on_center, "center_std": center_std, "surround_std": surround_std}
        if out_channels is None:
            out_channels = max(np.size(value) for value in lists.values())
        for name, value in lists.items():
            if np.shape(value) not in ((), (out_channels,)):
                raise ValueError(
                    f"{name} must be a scalar or have one value for each of {out_channels} output "
                    f"channels, got {value}."
                )
        if np.ndim(amplitude_ratio) != 0:
            raise ValueError(f"amplitude_ratio must be one number, got {amplitude_ratio}.")
        center = Gaussian(kernel_size, center_std, pad_mode, out_channels)
        surround = Gaussian(kernel_size, surround_std, pad_mode, out_channels)
        self.center_std = center.std
        self.surround_std = surround.std
        self.amplitude_ratio = jnp.asarray(amplitude_ratio, jnp.result_type(float))
        self.on_center = tuple(bool(on) for on in np.broadcast_to(on_center, out_channels))
        self.kernel_size = center.kernel_size
        self.pad_mode = pad_mode

    @property
    def filt(self) -> Float[Array, "channel 1 height width"]:
        """The filters."""
        center = circular_gaussian2d(self.kernel_size, self.center_std)
        surround = circular_gaussian2d(self.kernel_size, self.surround_std)
        return self._gains(center.dtype)[:, None] * (center - surround)

    @in_single_precision("x")
    def __call__(
        self, x: Float[Array, "*channel height width"]
    ) -> Float[Array, "out_channels height width"]:
        """Filter an image of shape (1, height, width) with each filter."""
        check_one_channel(x)
        std = jnp.stack([self.center_std, self.surround_std])
        center, surround = gaussian_blur(x, self.kernel_size, std, pad_mode=self.pad_mode)
        return self._gains(x.dtype) * (center - surround)

    def _gains(self, dtype: jnp.dtype) -> Float[Array, "channel 1 1"]:
        signs = jnp.asarray([1 if on else -1 for on in self.on_center], dtype)
        return (jnp.asarray(self.amplitude_ratio, dtype) * signs)[:, None, None]


@final
class Linear(AbstractFunction):
    """Two linear filters, by default one for low and one for higher frequencies.

    The first is a Gaussian of sum 1 and variance 3. The second is a Gaussian of variance 1 minus
    the first, so its sum is 0, and the two channels add up to the image blurred with variance 1.
    (plenoptic divides the second by its sum, which is rounding error, and gets values of 1e6 and
    more.)

    Attributes:
        filt: The filters.
        pad_mode: How the image is padded at its edges.

    Example:
        >>> import jax.numpy as jnp
        >>> low, high = Linear()(jnp.ones((1, 8, 8)))
        >>> print(f"{low.mean():.3f} {abs(high).max():.3f}")
        1.000 0.000
    """

    filt: Float[Array, "channel 1 height width"]
    pad_mode: str = eqx.field(static=True)

    @checked(kernel_size=SIZES)
    def __init__(
        self,
        kernel_size: int | tuple[int, int] = (3, 3),
        pad_mode: str = "circular",
        default_filters: bool = True,
        *,
        key: Key | None = None,
    ):
        """Choose the filters.

        Args:
            kernel_size: Height and width of the filters in pixels, or one number for both.
            pad_mode: How the image is padded at its edges, as in ``Gaussian``.
            default_filters: Whether to use the filters above. Otherwise they are random: uniform
                between plus and minus ``1 / sqrt(height * width)``.
            key: Random key that draws the random filters.

        Raises:
            ValueError: If an argument is out of range, or ``default_filters`` is False and no key
                is given.
        """
        low, narrow = Gaussian(kernel_size, [3**0.5, 1.0], pad_mode).filt
        if default_filters:
            self.filt = jnp.stack([low, narrow - low])
        elif key is None:
            raise ValueError(
                "key must be given for the random filters of default_filters=False, got None. Give "
                "key=jax.random.key(0)."
            )
        else:
            bound = low.size**-0.5
            self.filt = jax.random.uniform(key, (2, *low.shape), low.dtype, -bound, bound)
        self.pad_mode = pad_mode

    @in_single_precision("x")
    def __call__(
        self, x: Float[Array, "*channel height width"]
    ) -> Float[Array, "out_channels height width"]:
        """Filter an image of shape (1, height, width) with each filter."""
        check_one_channel(x)
        return correlate(x, self.filt[:, 0], pad_mode=self.pad_mode)


def check_one_channel(x: Float[Array, "..."]) -> None:
    """Reject an input that is not an image of one channel."""
    if x.ndim == 3 and x.shape[0] == 1:
        return
    advice = advise_on_axes(x.shape)
    if not advice and x.ndim == 3:
        advice = (
            f" For {x.shape[0]} channels processed separately, define `each_channel = "
            "jax.vmap(lambda channel: model(channel[None]))` once and use it as the model. For a "
            "gray version of the image, use `image.mean(0, keepdims=True)`."
        )
    raise ValueError(
        f"The image must have the shape (1, height, width), got {x.shape}."
        f"{advice or advise_on_rank(x.shape)}"
    )


def advise_on_rank(shape: tuple[int, ...]) -> str:
    """Return a sentence on how to get one image from an array with more or fewer axes."""
    if len(shape) == 2:
        return " Give a gray image of two axes as image[None]."
    return " Map over a batch with jax.vmap, or synthesize one with batch=True."
