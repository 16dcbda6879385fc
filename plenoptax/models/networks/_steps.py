"""The operations of convolutional networks, on one image of shape (height, width, channel).

XLA's CPU convolutions are fast in this layout only.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jaxtyping import Array, Float


Maps = Float[Array, "height width channel"]
# The padding of TensorFlow: as much as keeps size / stride pixels, the odd one at the end.
SAME = "SAME"


class Step(NamedTuple):
    """One named operation of a network.

    Attributes:
        name: The name of its output.
        compute: A function of its operands and its arrays.
        shapes: The shapes of its arrays, as published, by name.
        options: Further arguments of `compute`.
        reads: The names of the steps that it reads; by default the step before.
    """

    name: str
    compute: Callable[..., Array]
    shapes: Mapping[str, tuple[int, ...]] = MappingProxyType({})
    options: Mapping[str, Any] = MappingProxyType({})
    reads: tuple[str, ...] = ()


def run_steps(steps: Sequence[Step], parameters: Mapping[str, Array], image: Array) -> Array:
    """Compute the output of the last step and mark the output of each.

    Args:
        steps: The steps.
        parameters: The arrays that `prepare` made, by the name of the step and their own.
        image: An image of shape (channel, height, width).
    """
    outputs: dict[str, Array] = {}
    previous = jnp.moveaxis(image, 0, -1)
    for step in steps:
        operands = [outputs[name] for name in step.reads] or [previous]
        named = {part: f"{step.name}.{part}" for part in ("weight", "bias")}
        arrays = {
            part: parameters[name].astype(image.dtype)
            for part, name in named.items()
            if name in parameters
        }
        previous = outputs[step.name] = _mark(
            step.name, step.compute(*operands, **arrays, **step.options)
        )
    return previous if previous.ndim == 1 else jnp.moveaxis(previous, -1, 0)


def _mark(name: str, output: Array) -> Array:
    """Mark an output in the layout (channel, height, width). XLA drops the two transpositions."""
    if output.ndim == 1:
        return checkpoint_name(output, name)
    return jnp.moveaxis(checkpoint_name(jnp.moveaxis(output, -1, 0), name), 0, -1)


def convolution(
    name: str,
    channels: tuple[int, int],
    size: int,
    *,
    stride: int = 1,
    padding: int | str = 0,
    groups: int = 1,
    bias: bool = True,
    reads: tuple[str, ...] = (),
) -> Step:
    """Return a step that convolves.

    Args:
        name: The name of the step.
        channels: The numbers of channels before and after it.
        size: Height and width of the filters in pixels.
        stride: The distance of its outputs in pixels.
        padding: The number of zeros at each edge, or `SAME`.
        groups: The number of groups of channels: 1, or that of channels, which are then filtered
            each by itself, without a bias.
        bias: Whether it adds a number to each channel.
        reads: The name of the step that it reads; by default the step before.
    """
    before, after = channels
    weight = {"weight": (after, before // groups, size, size)}
    shapes = {**weight, "bias": (after,)} if bias else weight
    options = {"stride": stride, "padding": padding, "groups": groups}
    return Step(name, _convolve, shapes, options, reads)


def _convolve(
    x: Maps,
    weight: Float[Array, "rows columns before after"],
    bias: Float[Array, " after"] | None = None,
    *,
    stride: int,
    padding: int | str,
    groups: int,
) -> Float[Array, "rows_after columns_after after"]:
    size = weight.shape[0]
    edges = [_edges(length, size, stride, padding) for length in x.shape[:2]]
    if groups > 1:
        return _filter_channels(jnp.pad(x, (*edges, (0, 0))), weight[:, :, 0], stride)
    y = lax.conv_general_dilated(
        x[None], weight, (stride, stride), edges, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )[0]
    return y if bias is None else y + bias[None, None]


def _filter_channels(x: Maps, weight: Float[Array, "rows columns channel"], stride: int) -> Array:
    """Filter each channel by itself, as a sum of shifted images.

    On CPU, a network of such steps takes a third of its time with XLA's convolution in groups.
    """
    size = weight.shape[0]
    height, width = ((length - size) // stride + 1 for length in x.shape[:2])
    y = jnp.zeros((height, width, x.shape[2]), x.dtype)
    for i in range(size):
        for j in range(size):
            stop = (i + (height - 1) * stride + 1, j + (width - 1) * stride + 1, x.shape[2])
            y += lax.slice(x, (i, j, 0), stop, (stride, stride, 1)) * weight[i, j][None, None]
    return y


def _edges(length: int, size: int, stride: int, padding: int | str) -> tuple[int, int]:
    """Return how many zeros are put before and after an axis."""
    if not isinstance(padding, str):
        return padding, padding
    missing = max((math.ceil(length / stride) - 1) * stride + size - length, 0)
    return missing // 2, missing - missing // 2


def normalization(name: str, channels: int, epsilon: float) -> Step:
    """Return a step that normalizes each channel by a fixed mean and variance.

    Args:
        name: The name of the step.
        channels: The number of channels.
        epsilon: Added to the variance.
    """
    parts = ("weight", "bias", "running_mean", "running_var")
    return Step(name, _scale_and_shift, dict.fromkeys(parts, (channels,)), {"epsilon": epsilon})


def _scale_and_shift(
    x: Maps, weight: Float[Array, " channel"], bias: Float[Array, " channel"], *, epsilon: float
) -> Maps:
    # `prepare` has already used epsilon.
    return x * weight[None, None] + bias[None, None]


def linear(name: str, channels: tuple[int, int]) -> Step:
    """Return a step that multiplies a vector by a matrix and adds another.

    Args:
        name: The name of the step.
        channels: The lengths of the vectors before and after it.
    """
    before, after = channels
    return Step(name, _multiply, {"weight": (after, before), "bias": (after,)})


def _multiply(
    x: Float[Array, " before"],
    weight: Float[Array, "after before"],
    bias: Float[Array, " after"],
) -> Float[Array, " after"]:
    return weight @ x + bias


def rectify(x: Array, *, bound: float = math.inf) -> Array:
    """Replace negative values by 0, and values above the bound by the bound."""
    return jax.nn.relu(x) if bound == math.inf else jnp.clip(x, 0, bound)


def pool_maximum(x: Maps, *, size: int, stride: int, padding: int = 0) -> Array:
    """Return the maximum of each square of pixels.

    It is taken over slices, one axis after the other: on CPU, the derivative of XLA's own maximum
    over windows takes several times as long. Of equal values, the first in reading order gets the
    derivative, as in torch.

    Args:
        x: The maps.
        size: Height and width of the squares in pixels.
        stride: The distance of the squares in pixels.
        padding: The number of pixels at each edge that are less than all others.
    """
    edges = [(padding, padding), (padding, padding), (0, 0)]
    x = jnp.pad(x, edges, constant_values=-np.inf) if padding else x
    for axis in (1, 0):
        count = (x.shape[axis] - size) // stride + 1
        slices = [
            lax.slice_in_dim(x, start, start + (count - 1) * stride + 1, stride, axis)
            for start in range(size)
        ]
        x = slices[0]
        for other in slices[1:]:
            x = jnp.where((other > x) | jnp.isnan(other), other, x)
    return x


def pool_mean(x: Maps, *, size: int, stride: int, padding: int = 0) -> Array:
    """Return the mean of each square of pixels, instead of the maximum.

    Args:
        x: The maps.
        size: Height and width of the squares in pixels.
        stride: The distance of the squares in pixels.
        padding: The number of pixels at each edge that squares may leave the maps by. These pixels
            do not count.
    """
    for axis in (0, 1):
        rows = _window_means(x.shape[axis], size, stride, padding)
        x = jnp.moveaxis(jnp.tensordot(jnp.asarray(rows, x.dtype), x, (1, axis)), 0, axis)
    return x


def _window_means(length: int, size: int, stride: int, padding: int) -> np.ndarray:
    """Return the matrix that averages an axis over windows."""
    starts = np.arange((length + 2 * padding - size) // stride + 1)[:, None] * stride - padding
    pixels = np.arange(length)[None]
    inside = (pixels >= starts) & (pixels < starts + size)
    return inside / inside.sum(1, keepdims=True)


def pool_root_mean_square(x: Maps) -> Array:
    """Return the root of a weighted mean of squares around every second pixel.

    The window is that of Hann, of 3 x 3 pixels, and pixels beyond the edges are 0 (Hénaff and
    Simoncelli 2016; the constant inside of the root is that of Ding et al. 2020).
    """
    x = jnp.pad(x**2, [(1, 1), (1, 1), (0, 0)])
    for axis in (0, 1):
        stop = 2 * ((x.shape[axis] - 3) // 2) + 1
        before, at, after = (
            lax.slice_in_dim(x, start, start + stop, 2, axis) for start in range(3)
        )
        x = 0.25 * before + 0.5 * at + 0.25 * after
    return jnp.sqrt(x + 1e-12)


def pool_average(x: Maps, *, size: int) -> Float[Array, "{size} {size} channel"]:
    """Return the averages over a grid of so many rows and columns of rectangles.

    Together, the rectangles cover all pixels. If their sides are not whole numbers, they overlap.
    """
    rows, columns = (jnp.asarray(_averages(length, size), x.dtype) for length in x.shape[:2])
    return jnp.einsum("ih,hwc,jw->ijc", rows, x, columns)


def _averages(length: int, size: int) -> np.ndarray:
    """Return the matrix that averages an axis over parts."""
    matrix = np.zeros((size, length))
    for i in range(size):
        start, stop = i * length // size, -(-(i + 1) * length // size)
        matrix[i, start:stop] = 1 / (stop - start)
    return matrix


def flatten(x: Maps) -> Float[Array, " number"]:
    """Return the numbers of all maps, one channel after the other."""
    return jnp.moveaxis(x, -1, 0).reshape(-1)


def add(x: Maps, y: Maps) -> Maps:
    """Add the input of a block to its output."""
    return x + y


def keep(x: Array) -> Array:
    """Return a value unchanged: the end of a block, or a dropout after training."""
    return x


def prepare(step: Step, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Convert the published arrays of a step to the layout and form that it uses.

    Args:
        step: The step.
        arrays: Its arrays, of the shapes that it names.

    Returns:
        Its weight and bias. Those of a normalization are its scale and shift in float64.
    """
    if step.compute is _convolve:
        return {**arrays, "weight": np.ascontiguousarray(arrays["weight"].transpose(2, 3, 1, 0))}
    if step.compute is not _scale_and_shift:
        return {**arrays}
    weight, bias, mean, variance = (arrays[part].astype(np.float64) for part in step.shapes)
    scale = weight / np.sqrt(variance + step.options["epsilon"])
    return {"weight": scale, "bias": bias - mean * scale}
