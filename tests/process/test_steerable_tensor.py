import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plenoptax.process import SteerablePyramidFreq

from .pyramids import decompose


@pytest.mark.parametrize(("split_complex", "num_maps"), [(True, 26), (False, 14)])
def test_tensor_shapes_of_complex_pyramids(split_complex, num_maps):
    pyramid = SteerablePyramidFreq((64, 64), 3, is_complex=True, downsample=False)
    tensor = eqx.filter_eval_shape(
        lambda image: pyramid.convert_pyr_to_tensor(pyramid(image), split_complex)[0],
        jnp.zeros((2, 1, 64, 64)),
    )
    assert tensor.shape == (2, num_maps, 64, 64)
    assert tensor.dtype == (jnp.float32 if split_complex else jnp.complex64)


def test_tensor_shape_of_the_highest_pyramid():
    pyramid = SteerablePyramidFreq((256, 256), is_complex=True, downsample=False)
    tensor = eqx.filter_eval_shape(
        lambda image: pyramid.convert_pyr_to_tensor(pyramid(image))[0], jnp.zeros((1, 256, 256))
    )
    assert tensor.shape == (26, 256, 256)


@pytest.mark.parametrize("scales", [None, [0, "residual_lowpass"], ["residual_highpass"]])
@pytest.mark.parametrize("is_complex", [False, True])
@pytest.mark.parametrize("split_complex", [False, True])
def test_tensor_order_and_round_trip(scales, is_complex, split_complex, getkey):
    pyramid = SteerablePyramidFreq((8, 9), 1, 1, is_complex=is_complex, downsample=False)
    coefficients = decompose(pyramid, jax.random.uniform(getkey(), (2, 3, 8, 9)), scales)
    has_bands = scales != ["residual_highpass"]
    if split_complex and not is_complex and has_bands:
        with pytest.raises(ValueError, match="is_complex=True"):
            pyramid.convert_pyr_to_tensor(coefficients, split_complex)
        return
    tensor, info = pyramid.convert_pyr_to_tensor(coefficients, split_complex)
    maps = []
    for channel in range(3):
        for key, level in coefficients.items():
            if isinstance(key, str):
                maps.append(level[:, channel])
                continue
            for band in range(2):
                one = level[:, channel, band]
                maps.extend([one.real, one.imag] if split_complex else [one])
    np.testing.assert_array_equal(tensor, np.stack(maps, 1))
    hash(info)
    restored = pyramid.convert_tensor_to_pyr(tensor, *info)
    assert list(restored) == list(coefficients)
    for key, level in coefficients.items():
        assert restored[key].dtype == level.dtype
        np.testing.assert_array_equal(restored[key], level)


def test_tensor_refuses_levels_of_different_size():
    pyramid = SteerablePyramidFreq((16, 16))
    coefficients = decompose(pyramid, jnp.zeros((1, 16, 16)))
    with pytest.raises(ValueError, match="downsample=False"):
        pyramid.convert_pyr_to_tensor(coefficients)


def test_tensor_refuses_images_without_channels():
    pyramid = SteerablePyramidFreq((16, 16), downsample=False)
    coefficients = decompose(pyramid, jnp.zeros((16, 16)))
    with pytest.raises(ValueError, match="channel axis"):
        pyramid.convert_pyr_to_tensor(coefficients)
