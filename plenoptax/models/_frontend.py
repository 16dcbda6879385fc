from collections.abc import Callable, Sequence
from typing import Any, ClassVar, final, TYPE_CHECKING

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from .._function import AbstractFunction
from .._precision import in_single_precision
from .._rules import checked, Real, SIZES
from .._types import Key
from ..process import disk
from ._frontend_parts import (
    check_pretrained,
    CITATION,
    control_gain,
    gain_scalars,
    normalize,
    show_filters,
)
from ._naive import CenterSurround, Gaussian


if TYPE_CHECKING:
    import matplotlib.figure


def softplus(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Compute ``log(1 + exp(x))``. `jax.nn.softplus` is already compiled and cannot be pickled."""
    return jnp.logaddexp(x, jnp.zeros((), x.dtype))


@final
class LinearNonlinear(AbstractFunction):
    """A center-surround filter and an activation: the model LN of Berardino et al.

    The pretrained values were fitted to the human ratings of TID2008, a database of gamma-coded
    8-bit photographs. We know of no report that the photographs were made linear in light before
    the fit. plenoptic also gives the models gamma-coded gray in [0, 1], which is what
    ``plenoptax.load_images`` returns by default. This holds for all front ends.

    Attributes:
        center_surround: The filter.
        activation: Applied to each pixel of its response.

    References:
        Berardino, Balle, Laparra and Simoncelli (2017), Eigen-distortions of hierarchical
        representations, NeurIPS; the pretrained values are those of table 2 of Berardino (2018),
        Hierarchically normalized models of visual distortion sensitivity, thesis, New York
        University. Ponomarenko et al. (2009), TID2008, a database for evaluation of full-reference
        visual quality assessment metrics, Advances of Modern Radioelectronics 10, 30-45.

    Example:
        >>> import jax.numpy as jnp
        >>> model = LinearNonlinear(31, pretrained=True)
        >>> print(f"{model(jnp.ones((1, 48, 48))).mean():.4f}")
        0.6931
    """

    citation: ClassVar[str] = CITATION
    center_surround: CenterSurround
    activation: Callable = eqx.field(static=True)

    @checked(kernel_size=SIZES, amplitude_ratio=Real(at_least=1))
    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        on_center: bool = True,
        amplitude_ratio: float = 1.25,
        pad_mode: str = "reflect",
        pretrained: bool = False,
        activation: Callable[[Array], Array] = softplus,
    ):
        """Choose the filter.

        Args:
            kernel_size: Height and width of the filter in pixels, or one number for both.
            on_center: Whether the center excites and the surround inhibits.
            amplitude_ratio: The gain of the filter, at least 1.
            pad_mode: How the image is padded at its edges, as in ``Gaussian``.
            pretrained: Whether to use the standard deviations that were fitted to human judgments
                of distortions. They require ``kernel_size=31`` and ``amplitude_ratio=1.25``.
                Otherwise the standard deviations are 1 and 4 pixels.
            activation: A function of arrays. Define it once: each new function is compiled again.

        Raises:
            ValueError: If an argument is out of range, or incompatible with ``pretrained``.
        """
        stds = (1.0, 4.0)
        if pretrained:
            check_pretrained(kernel_size, amplitude_ratio, on_center)
            stds = (0.5339, 6.148)
        self.center_surround = CenterSurround(
            kernel_size, on_center, amplitude_ratio, *stds, pad_mode=pad_mode
        )
        self.activation = activation

    @in_single_precision("x")
    def __call__(self, x: Float[Array, "1 height width"]) -> Float[Array, "1 height width"]:
        """Compute the response to an image of shape (1, height, width)."""
        return self.activation(self.center_surround(x))

    def display_filters(
        self,
        vrange: tuple[float, float] | str = "indep0",
        zoom: float | None = 5.0,
        title: str | list[str] | None = "linear filter",
        **kwargs: Any,
    ) -> "matplotlib.figure.Figure":
        """Show the filter. The arguments are those of ``plenoptax.plot.imshow``."""
        return show_filters([self.center_surround], vrange=vrange, zoom=zoom, title=title, **kwargs)


@final
class LuminanceGainControl(AbstractFunction):
    """A center-surround filter divided by the local luminance: the model LG of Berardino et al.

    The response is ``activation(linear / (1 + luminance_scalar * luminance))``, where ``linear`` is
    the image filtered by ``center_surround``, and ``luminance`` is the image blurred by a Gaussian.
    ``LinearNonlinear`` describes the scale of the images that the pretrained values were fitted to.

    Set your own values by name with ``equinox.tree_at``. The names are plenoptic's.

    Attributes:
        center_surround: The filter.
        luminance: The Gaussian that measures the local luminance.
        luminance_scalar: The weight of the luminance, of shape (1,).
        activation: Applied to each pixel of the response.

    References:
        Berardino et al. (2017), as in ``LinearNonlinear``.

    Example:
        >>> import equinox as eqx
        >>> import jax.numpy as jnp
        >>> model = LuminanceGainControl(31, pretrained=True)
        >>> print(f"{model(jnp.ones((1, 48, 48))).mean():.4f}")
        0.6931
        >>> names = lambda m: (m.luminance_scalar, m.luminance.std, m.center_surround.center_std)
        >>> model = eqx.tree_at(names, model, tuple(jnp.array([x]) for x in (10.0, 5.0, 2.0)))
        >>> model.luminance.std.tolist()
        [5.0]
    """

    citation: ClassVar[str] = CITATION
    center_surround: CenterSurround
    luminance: Gaussian
    luminance_scalar: Float[Array, " 1"]
    activation: Callable = eqx.field(static=True)

    @checked(kernel_size=SIZES, amplitude_ratio=Real(at_least=1))
    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        on_center: bool = True,
        amplitude_ratio: float = 1.25,
        pad_mode: str = "reflect",
        pretrained: bool = False,
        activation: Callable[[Array], Array] = softplus,
        *,
        key: Key | None = None,
    ):
        """Choose the filters.

        Args:
            kernel_size: Height and width of all filters in pixels, or one number for both.
            on_center: Whether the center excites and the surround inhibits.
            amplitude_ratio: The gain of the center-surround filter, at least 1.
            pad_mode: How the image is padded at its edges, as in ``Gaussian``.
            pretrained: Whether to use fitted values, as in ``LinearNonlinear``. Otherwise the
                standard deviation of ``luminance`` is 3 pixels.
            activation: A function of arrays, as in ``LinearNonlinear``.
            key: Random key that draws ``luminance_scalar`` uniformly from [0, 10]. Pretrained
                models need no key.

        Raises:
            ValueError: If an argument is out of range or incompatible with ``pretrained``, or
                neither ``pretrained`` nor ``key`` is given.
        """
        stds, luminance_std, scalar = (1.0, 4.0), 3.0, [14.95]
        if pretrained:
            check_pretrained(kernel_size, amplitude_ratio, on_center)
            stds, luminance_std = (1.962, 4.235), 4.235
        self.center_surround = CenterSurround(
            kernel_size, on_center, amplitude_ratio, *stds, pad_mode=pad_mode
        )
        self.luminance = Gaussian(kernel_size, luminance_std, pad_mode)
        (self.luminance_scalar,) = gain_scalars(pretrained, key, scalar)
        self.activation = activation

    @in_single_precision("x")
    def __call__(self, x: Float[Array, "1 height width"]) -> Float[Array, "1 height width"]:
        """Compute the response to an image of shape (1, height, width)."""
        linear, luminance = self.center_surround(x), self.luminance(x)
        return self.activation(normalize(linear, self.luminance_scalar, luminance))

    def display_filters(
        self,
        vrange: tuple[float, float] | str = "indep0",
        zoom: float | None = 5.0,
        title: str | Sequence[str] | None = ("linear filt", "luminance filt"),
        col_wrap: int | None = 2,
        **kwargs: Any,
    ) -> "matplotlib.figure.Figure":
        """Show the filters. The arguments are those of ``plenoptax.plot.imshow``."""
        parts = [self.center_surround, self.luminance]
        return show_filters(
            parts, vrange=vrange, zoom=zoom, title=title, col_wrap=col_wrap, **kwargs
        )


@final
class LuminanceContrastGainControl(AbstractFunction):
    """Luminance gain control followed by contrast gain control: the model LGG of Berardino et al.

    ``normed``, the input to the activation of ``LuminanceGainControl``, is divided once more:
    ``activation(normed / (1 + contrast_scalar * contrast))`` with ``contrast = sqrt(blurred) +
    1e-6``, where ``blurred`` is ``normed**2`` blurred by a Gaussian. Where ``blurred`` is 0, the
    gradient of its root is 0 too: value and gradient are finite on all images, also constant ones.
    ``LinearNonlinear`` describes the scale of the images that the pretrained values were fitted to.

    Attributes:
        center_surround: The filter.
        luminance: The Gaussian that measures the local luminance.
        contrast: The Gaussian that measures the local contrast.
        luminance_scalar: The weight of the luminance, of shape (1,).
        contrast_scalar: The weight of the contrast, of shape (1,).
        activation: Applied to each pixel of the response.

    References:
        Berardino et al. (2017), as in ``LinearNonlinear``.

    Example:
        >>> import jax.numpy as jnp
        >>> model = LuminanceContrastGainControl(31, pretrained=True)
        >>> print(f"{model(jnp.ones((1, 48, 48))).mean():.4f}")
        0.6931
    """

    citation: ClassVar[str] = CITATION
    center_surround: CenterSurround
    luminance: Gaussian
    contrast: Gaussian
    luminance_scalar: Float[Array, " 1"]
    contrast_scalar: Float[Array, " 1"]
    activation: Callable = eqx.field(static=True)

    @checked(kernel_size=SIZES, amplitude_ratio=Real(at_least=1))
    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        on_center: bool = True,
        amplitude_ratio: float = 1.25,
        pad_mode: str = "reflect",
        pretrained: bool = False,
        activation: Callable[[Array], Array] = softplus,
        *,
        key: Key | None = None,
    ):
        """Choose the filters.

        Args:
            kernel_size: Height and width of all filters in pixels, or one number for both.
            on_center: Whether the center excites and the surround inhibits.
            amplitude_ratio: The gain of the center-surround filter, at least 1.
            pad_mode: How the image is padded at its edges, as in ``Gaussian``.
            pretrained: Whether to use fitted values, as in ``LinearNonlinear``. Otherwise the
                standard deviations of ``luminance`` and ``contrast`` are 3 pixels.
            activation: A function of arrays, as in ``LinearNonlinear``.
            key: Random key that draws the two scalars uniformly from [0, 10].
        """
        stds, luminance_std, contrast_std = (1.0, 4.0), 3.0, 3.0
        if pretrained:
            check_pretrained(kernel_size, amplitude_ratio, on_center)
            stds, luminance_std, contrast_std = (0.7363, 48.37), 170.99, 2.658
        self.center_surround = CenterSurround(
            kernel_size, on_center, amplitude_ratio, *stds, pad_mode=pad_mode
        )
        self.luminance = Gaussian(kernel_size, luminance_std, pad_mode)
        self.contrast = Gaussian(kernel_size, contrast_std, pad_mode)
        self.luminance_scalar, self.contrast_scalar = gain_scalars(pretrained, key, [2.94], [34.03])
        self.activation = activation

    @in_single_precision("x")
    def __call__(self, x: Float[Array, "1 height width"]) -> Float[Array, "1 height width"]:
        """Compute the response to an image of shape (1, height, width)."""
        return self.activation(control_gain(self, x))

    def display_filters(
        self,
        vrange: tuple[float, float] | str = "indep0",
        zoom: float | None = 5.0,
        title: str | Sequence[str] | None = ("linear filt", "luminance filt", "contrast filt"),
        col_wrap: int | None = 3,
        **kwargs: Any,
    ) -> "matplotlib.figure.Figure":
        """Show the filters. The arguments are those of ``plenoptax.plot.imshow``."""
        parts = [self.center_surround, self.luminance, self.contrast]
        return show_filters(
            parts, vrange=vrange, zoom=zoom, title=title, col_wrap=col_wrap, **kwargs
        )


@final
class OnOff(AbstractFunction):
    """Two channels of luminance and contrast gain control, with an on- and an off-center.

    Each channel is a ``LuminanceContrastGainControl`` with its own parameters. Among the models of
    Berardino et al., this one predicts human thresholds for distortions best.
    ``LinearNonlinear`` describes the scale of the images that the pretrained values were fitted to.

    Attributes:
        center_surround: The filters.
        luminance: The Gaussians that measure the local luminance.
        contrast: The Gaussians that measure the local contrast of each channel.
        luminance_scalar: The weights of the luminance, of shape (2,).
        contrast_scalar: The weights of the contrast, of shape (2,).
        apply_mask: Whether the response fades out towards the edges of the image.
        activation: Applied to each pixel of the response.

    References:
        Berardino et al. (2017), as in ``LinearNonlinear``.

    Example:
        >>> import jax.numpy as jnp
        >>> model = OnOff(31, pretrained=True, apply_mask=True)
        >>> model(jnp.ones((1, 48, 48))).shape
        (2, 48, 48)
    """

    citation: ClassVar[str] = CITATION
    center_surround: CenterSurround
    luminance: Gaussian
    contrast: Gaussian
    luminance_scalar: Float[Array, " 2"]
    contrast_scalar: Float[Array, " 2"]
    apply_mask: bool = eqx.field(static=True)
    activation: Callable = eqx.field(static=True)

    @checked(kernel_size=SIZES, amplitude_ratio=Real(at_least=1))
    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        amplitude_ratio: float = 1.25,
        pad_mode: str = "reflect",
        pretrained: bool = False,
        activation: Callable[[Array], Array] = softplus,
        apply_mask: bool = False,
        *,
        key: Key | None = None,
    ):
        """Choose the filters.

        Args:
            kernel_size: Height and width of all filters in pixels, or one number for both.
            amplitude_ratio: The gain of the center-surround filters, at least 1.
            pad_mode: How the image is padded at its edges, as in ``Gaussian``.
            pretrained: Whether to use fitted values, as in ``LuminanceContrastGainControl``.
            activation: A function of arrays, as in ``LinearNonlinear``.
            apply_mask: Whether to multiply the response by ``plenoptax.process.disk``.
            key: Random key that draws the four scalars uniformly from [0, 10].
        """
        stds, luminance_std, contrast_std = (1.0, 4.0), 3.0, 3.0
        if pretrained:
            check_pretrained(kernel_size, amplitude_ratio)
            stds = ([1.237, 0.3233], [30.12, 2.184])
            luminance_std, contrast_std = [76.4, 2.184], [7.49, 2.43]
        self.center_surround = CenterSurround(
            kernel_size, [True, False], amplitude_ratio, *stds, pad_mode=pad_mode
        )
        self.luminance = Gaussian(kernel_size, luminance_std, pad_mode, 2)
        self.contrast = Gaussian(kernel_size, contrast_std, pad_mode, 2)
        self.luminance_scalar, self.contrast_scalar = gain_scalars(
            pretrained, key, [3.2637, 14.3961], [7.3405, 16.7423]
        )
        self.apply_mask = apply_mask
        self.activation = activation

    @in_single_precision("x")
    def __call__(self, x: Float[Array, "1 height width"]) -> Float[Array, "2 height width"]:
        """Compute the response to an image of shape (1, height, width)."""
        response = self.activation(control_gain(self, x))
        if not self.apply_mask:
            return response
        return response * jnp.asarray(disk(x.shape[-2:]), response.dtype)[None]

    def display_filters(
        self,
        vrange: tuple[float, float] | str = "indep0",
        zoom: float | None = 5.0,
        title: str | Sequence[str] | None = (
            "linear filt on",
            "linear filt off",
            "luminance filt on",
            "luminance filt off",
            "contrast filt on",
            "contrast filt off",
        ),
        col_wrap: int | None = 2,
        **kwargs: Any,
    ) -> "matplotlib.figure.Figure":
        """Show the filters. The arguments are those of ``plenoptax.plot.imshow``."""
        parts = [self.center_surround, self.luminance, self.contrast]
        return show_filters(
            parts, vrange=vrange, zoom=zoom, title=title, col_wrap=col_wrap, **kwargs
        )
