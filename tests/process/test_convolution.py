import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from plenoptax.process import correlate_separable, gaussian_blur, same_padding


NUMPY_MODES = {
    "constant": "constant",
    "reflect": "reflect",
    "replicate": "edge",
    "circular": "wrap",
}


@pytest.fixture(params=["matrix", "blocks", "fft"])
def way(request, monkeypatch):
    """Each of the ways that a separable window is applied, whatever the size."""
    apply_by(request.param, monkeypatch)
    return request.param


def apply_by(way, monkeypatch):
    module = "plenoptax.process._separable"
    monkeypatch.setattr(f"{module}._LARGEST_MATRIX", 10**6 if way == "matrix" else 0)
    monkeypatch.setattr(f"{module}._MOST_TAPS", 0 if way == "fft" else 10**6)


def correlate_directly(image, vertical, horizontal, pad_mode, stride=1):
    """The definition, in NumPy: pad, then weigh each neighborhood."""
    taps = len(vertical), len(horizontal)
    if pad_mode != "valid":
        pads = [((k - 1) // 2, k // 2) for k in taps]
        image = np.pad(image, pads, mode=NUMPY_MODES[pad_mode])
    neighborhoods = np.lib.stride_tricks.sliding_window_view(image, taps)
    response = np.einsum("ijkl,k,l->ij", neighborhoods, vertical, horizontal)
    return response[::stride, ::stride]


@pytest.mark.parametrize("pad_mode", NUMPY_MODES)
@pytest.mark.parametrize("size", [1, 7])
@pytest.mark.parametrize("kernel_size", [1, 4, (3, 30)])
def test_same_padding_equals_numpy(pad_mode, size, kernel_size, rng):
    image = rng.random((2, size, 9)).astype(np.float32)
    padded = same_padding(jnp.asarray(image), kernel_size, pad_mode=pad_mode)
    taps = kernel_size if isinstance(kernel_size, tuple) else (kernel_size, kernel_size)
    pads = [(0, 0), *[((k - 1) // 2, k // 2) for k in taps]]
    np.testing.assert_array_equal(padded, np.pad(image, pads, mode=NUMPY_MODES[pad_mode]))


@pytest.mark.parametrize("size", [16, 17])
@pytest.mark.parametrize(("taps", "stride", "dilation"), [(1, 3, 4), (5, 2, 1), (6, 3, 4)])
def test_same_padding_gives_one_place_for_each_stride_of_the_image(
    size, taps, stride, dilation, rng
):
    image = rng.random((size, size + 1)).astype(np.float32)
    padded = same_padding(jnp.asarray(image), (taps, taps), stride, (dilation, dilation))
    span = (taps - 1) * dilation + 1
    for given, got in zip((size, size + 1), padded.shape, strict=True):
        starts = range(0, got - span + 1, stride)
        assert len(starts) == -(-given // stride)
    # What is missing, the smaller half of it before the image.
    missing = [max((-(-n // stride) - 1) * stride + span - n, 0) for n in image.shape]
    pads = [(total // 2, total - total // 2) for total in missing]
    np.testing.assert_array_equal(padded, np.pad(image, pads, mode="wrap"))


def test_same_padding_refuses_an_unknown_mode():
    with pytest.raises(ValueError, match="'mirror'.*") as error:
        same_padding(jnp.zeros((4, 4)), 3, pad_mode="mirror")
    assert "replicate" in str(error.value)


@pytest.mark.parametrize("pad_mode", [*NUMPY_MODES, "valid"])
@pytest.mark.parametrize("size", [(11, 16), (32, 65), (100, 71)])
@pytest.mark.parametrize(("taps", "stride"), [((1, 4), 1), ((7, 6), 2), ((5, 40), 1), ((11, 3), 5)])
def test_correlate_separable_equals_the_definition(pad_mode, size, taps, stride, way, rng, x64):
    if pad_mode == "valid" and size[1] < taps[1]:
        pytest.skip("refused, see below")
    image = rng.standard_normal(size)
    vertical, horizontal = rng.standard_normal(taps[0]), rng.standard_normal(taps[1])
    arrays = jnp.asarray(image), jnp.asarray(vertical), jnp.asarray(horizontal)
    correlate = functools.partial(correlate_separable, pad_mode=pad_mode, stride=stride)
    response = jax.jit(correlate)(*arrays)
    expected = correlate_directly(image, vertical, horizontal, pad_mode, stride)
    np.testing.assert_allclose(response, expected, atol=1e-12)


@pytest.mark.parametrize("pad_mode", NUMPY_MODES)
def test_correlate_separable_takes_windows_larger_than_the_image(pad_mode, way, rng, x64):
    image = rng.standard_normal((5, 1))
    vertical, horizontal = rng.standard_normal(24), rng.standard_normal(9)
    arrays = jnp.asarray(image), jnp.asarray(vertical), jnp.asarray(horizontal)
    response = jax.jit(functools.partial(correlate_separable, pad_mode=pad_mode))(*arrays)
    expected = correlate_directly(image, vertical, horizontal, pad_mode)
    np.testing.assert_allclose(response, expected, atol=1e-12)


def test_correlate_separable_broadcasts_windows_against_channels(way, rng):
    image = jnp.asarray(rng.standard_normal((3, 2, 8, 9)), jnp.float32)
    vertical = jnp.asarray(rng.standard_normal((2, 3)), jnp.float32)
    horizontal = jnp.asarray(rng.standard_normal((2, 4)), jnp.float32)
    response = correlate_separable(image, vertical, horizontal)
    assert response.shape == image.shape
    assert response.dtype == jnp.float32
    for i in range(3):
        for j in range(2):
            one = correlate_directly(image[i, j], vertical[j], horizontal[j], "reflect")
            np.testing.assert_allclose(response[i, j], one, atol=1e-5)
    several = correlate_separable(image[0, 0], vertical, horizontal)
    one = correlate_directly(image[0, 0], vertical[1], horizontal[1], "reflect")
    assert several.shape == (2, 8, 9)
    np.testing.assert_allclose(several[1], one, atol=1e-5)


def test_correlate_separable_refuses_what_it_cannot_do():
    image, window = jnp.zeros((4, 9)), jnp.ones(5)
    with pytest.raises(ValueError, match=r"window of 5 x 5 pixels, got 4 x 9"):
        correlate_separable(image, window, window, pad_mode="valid")
    with pytest.raises(ValueError, match="'same'"):
        correlate_separable(image, window, window, pad_mode="same")


@pytest.mark.parametrize(("taps", "transformed"), [(5, False), (31, False), (301, True)])
def test_long_windows_are_transformed_and_short_ones_multiplied(taps, transformed):
    image = jax.ShapeDtypeStruct((1, 512, 512), jnp.float32)
    program = str(jax.make_jaxpr(lambda x: gaussian_blur(x, taps, 4.0))(image))
    assert ("fft[" in program) == transformed
    assert ("dot_general[" in program) != transformed
    assert "conv_general" not in program


def test_all_ways_agree_in_float32(monkeypatch, rng):
    image = jnp.asarray(rng.random((2, 61, 97)), jnp.float32)
    responses = []
    for way in ("matrix", "blocks", "fft"):
        apply_by(way, monkeypatch)
        responses.append(gaussian_blur(image, 31, 5.0))
    np.testing.assert_allclose(responses[0], responses[1], atol=1e-6)
    np.testing.assert_allclose(responses[0], responses[2], atol=1e-6)


@pytest.mark.parametrize("pad_mode", ["reflect", "replicate", "circular", "valid"])
def test_gaussian_blur_keeps_a_constant_image(pad_mode, way):
    blur = jax.jit(lambda image: gaussian_blur(image, (6, 9), 2.0, pad_mode=pad_mode))
    blurred = blur(jnp.full((1, 20, 15), 0.3))
    np.testing.assert_allclose(blurred, 0.3, atol=1e-6)


def test_gaussian_blur_agrees_under_jit_and_vmap_over_std(way, rng):
    image = jnp.asarray(rng.random((1, 14, 17)), jnp.float32)
    std = jnp.array([0.6, 2.0, 5.0])
    blurred = gaussian_blur(image, 7, std)
    assert blurred.shape == (3, 14, 17)
    compiled = jax.jit(lambda s: gaussian_blur(image, 7, s))
    np.testing.assert_allclose(compiled(std), blurred, atol=1e-6)
    np.testing.assert_allclose(jax.vmap(compiled)(std)[:, 0], blurred, atol=1e-6)


@pytest.mark.parametrize("pad_mode", ["reflect", "valid"])
def test_gaussian_blur_is_differentiable_in_image_and_std(pad_mode, way, rng, x64):
    image = jnp.asarray(rng.standard_normal((1, 6, 7)))
    std = jnp.array([0.9, 2.0])
    blur = jax.jit(lambda x, s: gaussian_blur(x, (4, 5), s, pad_mode=pad_mode))
    check_grads(blur, (image, std), order=1, eps=1e-5)
    by_image, by_std = jax.jit(jax.jacobian(blur, argnums=(0, 1)))(image, std)
    assert (np.abs(by_image).max((0, 1, 2)) > 0).all()
    assert (np.abs(by_std).max((0, 1, 2)) > 0).all()


def test_gaussian_blur_follows_the_dtype_of_the_image(x64):
    image = np.random.default_rng(0).random((1, 9, 9))
    double = gaussian_blur(jnp.asarray(image), 5, jnp.float32(1.5))
    single = gaussian_blur(jnp.asarray(image, jnp.float32), 5, jnp.float64(1.5))
    assert double.dtype == jnp.float64
    assert single.dtype == jnp.float32
    window = np.exp(-(np.arange(-2, 3) ** 2) / (2 * 1.5**2))
    window /= window.sum()
    expected = correlate_directly(image[0], window, window, "reflect")
    np.testing.assert_allclose(double[0], expected, atol=1e-14)
