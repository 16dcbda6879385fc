import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.io
import scipy.ndimage
import scipy.signal
import skimage.metrics

import plenoptax as plx
from plenoptax.metric import ms_ssim, NLP, nlpd, normalized_laplacian_pyramid, ssim, ssim_map


REFERENCE = Path(__file__).parents[1] / "reference" / "metric.npz"

# As in reference/make_metric.py.
CASES = {
    "ssim": (ssim, {}),
    "ssim_weighted": (ssim, {"weighted": True}),
    "ssim_constant": (ssim, {"pad": "constant"}),
    "ssim_reflect": (ssim, {"weighted": True, "pad": "reflect"}),
    "ssim_replicate": (ssim, {"pad": "replicate"}),
    "ssim_circular": (ssim, {"pad": "circular"}),
    "ms_ssim": (ms_ssim, {}),
    "ms_ssim_two": (ms_ssim, {"power_factors": [0.3, 0.6]}),
    "nlpd": (nlpd, {}),
    "nlpd_epsilon": (nlpd, {"epsilon": 1e-2}),
}


@pytest.fixture(scope="module")
def reference():
    with np.load(REFERENCE) as arrays:
        return dict(arrays)


@pytest.mark.filterwarnings("ignore:The window of 11 x 11")
@pytest.mark.parametrize("case", CASES)
def test_metric_equals_plenoptic(case, reference, x64):
    function, arguments = CASES[case]
    first, second = (jnp.asarray(reference[name]) for name in ("first", "second"))
    value, gradient = jax.value_and_grad(lambda x, y: function(x, y, **arguments))(first, second)
    assert value.shape == ()
    np.testing.assert_allclose(value, reference[f"{case}_value"], rtol=1e-12)
    np.testing.assert_allclose(gradient[:, 20], reference[f"{case}_gradient"], atol=1e-13)


@pytest.mark.filterwarnings("ignore:The window of 11 x 11")
@pytest.mark.parametrize("case", ["ssim_weighted", "ms_ssim", "nlpd"])
def test_metric_of_single_precision_equals_plenoptic(case, reference):
    function, arguments = CASES[case]
    first, second = (jnp.asarray(reference[x], jnp.float32) for x in ("first", "second"))
    value = function(first, second, **arguments)
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, reference[f"{case}_value"], rtol=5e-6)


def test_maps_and_scales_equal_those_of_plenoptic(reference, x64):
    first, second = (jnp.asarray(reference[name]) for name in ("first", "second"))
    np.testing.assert_allclose(ssim_map(first, second), reference["map"], atol=1e-12)
    scales = normalized_laplacian_pyramid(first)
    wanted = [reference[f"pyramid_{i}"] for i in range(6)]
    for scale, theirs in zip(scales, wanted, strict=True):
        np.testing.assert_allclose(scale, theirs, atol=1e-13)
    flat = np.concatenate([theirs.reshape(2, -1) for theirs in wanted], axis=1)
    np.testing.assert_allclose(NLP()(first), flat, atol=1e-13)


@pytest.mark.parametrize("data_range", [1.0, 255.0])
def test_ssim_equals_scikit_image(data_range, rng, x64):
    first = data_range * rng.random((2, 23, 30))
    second = 0.5 * first + 0.5 * data_range * rng.random((2, 23, 30))
    wanted, wanted_map = skimage.metrics.structural_similarity(
        first,
        second,
        channel_axis=0,
        data_range=data_range,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    pair = jnp.asarray(first), jnp.asarray(second)
    np.testing.assert_allclose(ssim(*pair, data_range=data_range), wanted, rtol=1e-12)
    found = ssim_map(*pair, data_range=data_range)
    np.testing.assert_allclose(found, wanted_map[:, 5:-5, 5:-5], rtol=1e-9, atol=1e-12)


# The weights of the normalization as NLP_dist.m prints them, and its constants.
MATLAB_KERNELS = np.zeros((6, 5, 5))
MATLAB_KERNELS[0, [1, 2, 2, 2, 3], [2, 1, 3, 4, 2]] = 0.1011, 0.1493, 0.1460, 0.0072, 0.1015
MATLAB_KERNELS[1, [1, 2, 2, 3], [2, 1, 3, 2]] = 0.0757, 0.1986, 0.1846, 0.0837
MATLAB_KERNELS[2, [1, 2, 2, 3], [2, 1, 3, 2]] = 0.0477, 0.2138, 0.2243, 0.0467
MATLAB_KERNELS[3, 2, [1, 3]] = 0.2503, 0.2616
MATLAB_KERNELS[4, 2, [1, 3]] = 0.2598, 0.2552
MATLAB_KERNELS[5, 2, [1, 3]] = 0.2215, 0.0717
MATLAB_CONSTANTS = (0.0248, 0.0185, 0.0179, 0.0191, 0.0220, 0.2782)


def matlab_scales(image):
    """What NLP_dist.m does, with SciPy: two-dimensional filters, zeros and all."""
    taps = np.array([0.05, 0.25, 0.4, 0.25, 0.05])
    kernel = np.outer(taps, taps)
    bands = []
    for _ in range(5):
        coarser = scipy.ndimage.correlate(image, kernel, mode="reflect")[::2, ::2]
        padded = np.pad(coarser, 1, mode="edge")
        spread = np.zeros((2 * padded.shape[0], 2 * padded.shape[1]))
        spread[::2, ::2] = 4 * padded
        enlarged = scipy.ndimage.correlate(spread, kernel, mode="constant")
        bands.append(image - enlarged[2 : 2 + image.shape[0], 2 : 2 + image.shape[1]])
        image = coarser
    bands.append(image)
    return [
        band / (constant + scipy.signal.convolve2d(np.abs(band), kernel, mode="same"))
        for band, constant, kernel in zip(bands, MATLAB_CONSTANTS, MATLAB_KERNELS, strict=True)
    ]


def test_matlab_variant_equals_its_definition(rng, x64):
    first, second = rng.random((2, 37, 50))
    wanted = [matlab_scales(first), matlab_scales(second)]
    scales = normalized_laplacian_pyramid(jnp.asarray(first), variant="matlab")
    for scale, theirs in zip(scales, wanted[0], strict=True):
        np.testing.assert_allclose(scale, theirs, atol=1e-12)
    distance = np.mean([np.sqrt(np.mean((x - y) ** 2)) for x, y in zip(*wanted, strict=True)])
    pair = jnp.asarray(first[None]), jnp.asarray(second[None])
    np.testing.assert_allclose(nlpd(*pair, 0.0, variant="matlab"), distance, rtol=1e-12)


@pytest.mark.parity
@pytest.mark.parametrize("case", CASES)
def test_metric_equals_plenoptic_side_by_side(case, rng, x64, monkeypatch):
    po = pytest.importorskip("plenoptic")
    from ..reference import make_metric

    monkeypatch.setattr(po.process.metric, "circular_gaussian2d", make_metric.exact_window)

    theirs, arguments = make_metric.CASES[case]
    ours, _ = CASES[case]
    first = rng.random((3, 65, 80))
    second = 0.3 * first + 0.7 * rng.random((3, 65, 80))
    with warnings.catch_warnings():
        # Of channels, and of windows larger than the coarsest scale.
        warnings.simplefilter("ignore")
        wanted, slope = make_metric.value_and_gradient(theirs, first, second, **arguments)
        value, gradient = jax.value_and_grad(lambda x, y: ours(x, y, **arguments))(
            jnp.asarray(first), jnp.asarray(second)
        )
    np.testing.assert_allclose(value, wanted, rtol=1e-12)
    np.testing.assert_allclose(gradient, slope, atol=1e-13)


@pytest.mark.parity
def test_distances_of_photographs(x64):
    po = pytest.importorskip("plenoptic")
    einstein, curie = (
        jnp.asarray(image[0].numpy(), jnp.float64)
        for image in (po.data.einstein(), po.data.curie())
    )
    np.testing.assert_allclose(nlpd(einstein, curie), 1.350663594706227, rtol=1e-12)
    np.testing.assert_allclose(nlpd(einstein, curie, variant="matlab"), 1.313147, atol=5e-7)
    assert ms_ssim(einstein, curie) == 0


@pytest.mark.network
@pytest.mark.parametrize("weighted", [False, True])
def test_ssim_equals_matlab(weighted):
    folder = plx.data.fetch_data("ssim_images.tar.gz")
    analysis = scipy.io.loadmat(plx.data.fetch_data("ssim_analysis.mat"), squeeze_me=True)
    wanted = analysis["weighted" if weighted else "standard"]
    base = plx.load_images(folder / str(analysis["base_img"]))
    for i in range(1, 11):
        other = plx.load_images(folder / f"samp{i}.tif")
        expected = float(wanted[f"samp{i}"])
        np.testing.assert_allclose(ssim(base, other, weighted), expected, atol=1e-5)


@pytest.mark.network
def test_ms_ssim_equals_matlab():
    folder = plx.data.fetch_data("msssim_images.tar.gz")
    images = [plx.load_images(folder / f"samp{i}.tiff") for i in range(5)]
    found = [ms_ssim(images[0], image) for image in images]
    # Published with the program, iwssim/msssim.zip.
    wanted = [1.0, 0.9112161, 0.7699084, 0.8785111, 0.9488805]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
