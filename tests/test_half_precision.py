import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.ad_checkpoint import checkpoint_name

import plenoptax as plx

from .metric.learned import make_drawn
from .models.networks import drawn, TABLES
from .solve.problems import Quadratic
from .test_api import CALLABLES


HALVES = ("float16", "bfloat16")
KEY = jax.random.key(0)
SMALL = plx.process.SteerablePyramidFreq((16, 16), 1, 1)
COMPLEX = plx.process.SteerablePyramidFreq((16, 16), 1, 1, is_complex=True)


def image(number=0, shape=(1, 16, 16)):
    """An image whose values have eight significant bits, which all precisions hold exactly."""
    return np.random.default_rng(number).integers(1, 128, shape) / 128


def cast(tree, dtype):
    return jax.tree.map(lambda leaf: jnp.asarray(leaf).astype(dtype), tree)


# One at a time: all of them take 300 MB.
@functools.lru_cache(maxsize=1)
def make_network(name):
    """A network with random weights that takes a gray image."""
    with jax.ensure_compile_time_eval():
        return drawn(name, repeat_gray=True)


@functools.lru_cache(maxsize=1)
def make_learned(name):
    """A metric made of a network with random weights."""
    with jax.ensure_compile_time_eval():
        return make_drawn(name)


def enlarge(x):
    """Repeat an image to 64 x 64 pixels, which every network takes."""
    return jnp.concatenate([jnp.concatenate([x] * 4, axis=1)] * 4, axis=2)


# What is called with an image, and of some with a second one.
ONE_IMAGE = {
    "metric.normalized_laplacian_pyramid": plx.metric.normalized_laplacian_pyramid,
    "metric.NLP": plx.metric.NLP(),
    "models.CenterSurround": plx.models.CenterSurround(5),
    "models.Gaussian": plx.models.Gaussian(5),
    "models.Identity": plx.models.Identity(),
    "models.Linear": plx.models.Linear(),
    "models.LinearNonlinear": plx.models.LinearNonlinear(5),
    "models.LuminanceContrastGainControl": plx.models.LuminanceContrastGainControl(5, key=KEY),
    "models.LuminanceGainControl": plx.models.LuminanceGainControl(5, key=KEY),
    "models.MeanResponse": plx.models.MeanResponse(
        lambda x, key: x + jax.random.normal(key, x.shape, x.dtype), jax.random.split(KEY, 2)
    ),
    "models.OnOff": plx.models.OnOff(5, key=KEY, apply_mask=True),
    "models.DenseWindows": plx.models.DenseWindows(jnp.ones((2, 16, 16))),
    "models.LogPolarWindows": plx.models.log_polar_windows((16, 16), 1.0, 3, 6),
    "models.PooledEnergy": plx.models.PooledEnergy(plx.models.uniform_window((16, 16)), 1, 2),
    "models.PooledLuminance": plx.models.PooledLuminance(plx.models.uniform_window((16, 16))),
    "models.features.FeatureExtractor": plx.models.features.FeatureExtractor(
        lambda x: checkpoint_name(jnp.tanh(x), "tanh"), "tanh"
    ),
    **{
        f"models.networks.{name}": lambda x, name=name: make_network(name)(enlarge(x))
        for name in TABLES
    },
    "process.add_noise": functools.partial(plx.process.add_noise, noise_mse=0.01, key=KEY),
    "process.autocorrelation": plx.process.autocorrelation,
    "process.blur_downsample": plx.process.blur_downsample,
    "process.center_crop": lambda x: plx.process.center_crop(x, 6),
    "process.circular_gaussian2d": lambda x: plx.process.circular_gaussian2d(3, x[0, 0]),
    "process.correlate": lambda x: plx.process.correlate(x, jnp.eye(3)),
    "process.correlate_downsample": lambda x: plx.process.correlate_downsample(x, jnp.eye(3)),
    "process.correlate_separable": lambda x: plx.process.correlate_separable(
        x, jnp.ones(3), jnp.ones(3)
    ),
    "process.deviation_from_line": lambda x: plx.process.deviation_from_line(x[0]),
    "process.expand": lambda x: plx.process.expand(x, 2),
    "process.gaussian1d": lambda x: plx.process.gaussian1d(5, x[0, 0]),
    "process.gaussian_blur": lambda x: plx.process.gaussian_blur(x, 5, 1.5),
    "process.gaussian_window": lambda x: plx.process.gaussian_window(5, x[0, 0]),
    "process.interpolate1d": lambda x: plx.process.interpolate1d(x, *np.eye(2)),
    "process.kurtosis": plx.process.kurtosis,
    "process.LaplacianPyramid": plx.process.LaplacianPyramid(3),
    "process.local_gain_control": plx.process.local_gain_control,
    "process.local_gain_control_dict": lambda x: plx.process.local_gain_control_dict({"a": x}),
    "process.maximum": plx.process.maximum,
    "process.minimum": plx.process.minimum,
    "process.rectangular_to_polar": plx.process.rectangular_to_polar,
    "process.rectangular_to_polar_dict": lambda x: plx.process.rectangular_to_polar_dict({"a": x}),
    "process.rescale": plx.process.rescale,
    "process.same_padding": lambda x: plx.process.same_padding(x, 3),
    "process.shrink": lambda x: plx.process.shrink(x, 2),
    "process.skew": plx.process.skew,
    "process.steer": lambda x: plx.process.steer(x[..., :4], 0.3),
    "process.SteerablePyramidFreq": SMALL,
    "process.translation_sequence": lambda x: plx.process.translation_sequence(x, 2),
    "process.upsample_blur": lambda x: plx.process.upsample_blur(x, (0, 1)),
    "process.upsample_convolve": lambda x: plx.process.upsample_convolve(x, (0, 1), jnp.eye(3)),
    "process.variance": plx.process.variance,
    "regularize.Closeness": plx.regularize.Closeness(jnp.full((1, 16, 16), 0.3)),
    "regularize.Histogram": plx.regularize.Histogram(jnp.full((1, 16, 16), 0.3)),
    "regularize.penalize_lp": functools.partial(plx.regularize.penalize_lp, exponent=6.0),
    "regularize.penalize_nonbinary": plx.regularize.penalize_nonbinary,
    "regularize.penalize_range": functools.partial(
        plx.regularize.penalize_range, allowed_range=(0.3, 0.6)
    ),
    "regularize.penalize_total_variation": plx.regularize.penalize_total_variation,
    "regularize.SumOfFrames": plx.regularize.SumOfFrames(plx.regularize.penalize_lp),
    "regularize.PowerSpectrum": plx.regularize.PowerSpectrum(jnp.asarray(image(2), jnp.float32)),
    # Further methods.
    "LaplacianPyramid.recon_pyr": lambda x: plx.process.LaplacianPyramid(2).recon_pyr(
        [x, x[..., ::2, ::2]]
    ),
    "SteerablePyramidFreq.recon_pyr": lambda x: SMALL.recon_pyr(
        {"residual_highpass": x, 0: jnp.stack([x, x], -3)},
        levels=["residual_highpass", 0],
    ),
    "SteerablePyramidFreq.steer_coeffs": lambda x: SMALL.steer_coeffs(
        {"residual_highpass": x, 0: jnp.stack([x, x], -3)}, [0.3]
    ),
    "SteerablePyramidFreq, complex": COMPLEX,
    "PowerSpectrum.__init__": lambda x: plx.regularize.PowerSpectrum(x).power.astype(x.dtype),
    "weighted penalties": plx.loss.WeightedSum([plx.regularize.penalize_lp] * 2, [1.0, 0.3]),
}
PAIRS = {
    "loss.l2_norm": plx.loss.l2_norm,
    "loss.mse": plx.loss.mse,
    "loss.relative_sse": plx.loss.relative_sse,
    "loss.SoftMaximum": plx.loss.SoftMaximum([plx.loss.mse, plx.loss.l2_norm]),
    "loss.WeightedL2Norm": plx.loss.WeightedL2Norm(jnp.full((1, 16, 16), 0.3)),
    "loss.WeightedSum": plx.loss.WeightedSum([plx.loss.mse, plx.loss.l2_norm], [1.0, 0.3]),
    "loss.WhitenedLoss": plx.loss.WhitenedLoss(
        plx.loss.WeightedL2Norm(jnp.ones((1, 16, 16))), 3 * jnp.eye(256)
    ),
    "loss.ZScored": plx.loss.ZScored(jnp.full((1, 16, 16), 0.3), jnp.full((1, 16, 16), 0.1)),
    "metric.cw_ssim": functools.partial(plx.metric.cw_ssim, level=1),
    "metric.cw_ssim_distance": functools.partial(plx.metric.cw_ssim_distance, level=1),
    "metric.DISTS": lambda x, y: make_learned("DISTS")(enlarge(x), enlarge(y)),
    "metric.fsim": plx.metric.fsim,
    "metric.fsim_distance": plx.metric.fsim_distance,
    "metric.gmsd": plx.metric.gmsd,
    "metric.haarpsi": plx.metric.haarpsi,
    "metric.haarpsi_distance": plx.metric.haarpsi_distance,
    "metric.LPIPS": lambda x, y: make_learned("LPIPS_alex")(enlarge(x), enlarge(y)),
    "metric.model_metric_factory": plx.metric.model_metric_factory(plx.models.Gaussian(3)),
    "metric.ModelMetric": plx.metric.ModelMetric(plx.models.Identity()),
    "metric.ms_ssim": functools.partial(plx.metric.ms_ssim, power_factors=[1.0]),
    "metric.ms_ssim_distance": functools.partial(plx.metric.ms_ssim_distance, power_factors=[1.0]),
    "metric.mse": plx.metric.mse,
    "metric.nlpd": plx.metric.nlpd,
    "metric.ssim": functools.partial(plx.metric.ssim, weighted=True),
    "metric.ssim_distance": plx.metric.ssim_distance,
    "metric.ssim_map": plx.metric.ssim_map,
    "process.local_gain_release": lambda x, y: plx.process.local_gain_release(x[..., ::2, ::2], y),
    "process.local_gain_release_dict": lambda x, y: plx.process.local_gain_release_dict(
        {"a": x[..., ::2, ::2]}, {"a": y}
    ),
    "process.make_straight_line": lambda x, y: plx.process.make_straight_line(x, y, 3),
    "process.polar_to_rectangular": plx.process.polar_to_rectangular,
    "process.polar_to_rectangular_dict": lambda x, y: plx.process.polar_to_rectangular_dict(
        {"a": x}, {"a": y}
    ),
    "process.sample_brownian_bridge": lambda x, y: plx.process.sample_brownian_bridge(
        x, y, 3, key=KEY
    ),
    "WeightedL2Norm.weigh": plx.loss.WeightedL2Norm(jnp.full((1, 16, 16), 0.3)).weigh,
}
MODEL = plx.models.Gaussian(3)
STILL = {"progress": False, "max_steps": 1}
REFUSED = {
    "eigendistortions": lambda x: plx.eigendistortions(x, MODEL),
    "generalized_eigendistortions": lambda x: plx.generalized_eigendistortions(x, MODEL, MODEL),
    "Geodesic": lambda x: plx.Geodesic(x, x, MODEL, n_steps=2),
    "geodesic": lambda x: plx.geodesic(x, x, MODEL, n_steps=2),
    "mad_competition": lambda x: plx.mad_competition(
        x, plx.metric.mse, plx.metric.ssim_distance, "min", 1.0
    ),
    "mad_competition_set": lambda x: plx.mad_competition_set(
        x, plx.metric.mse, plx.metric.ssim_distance
    ),
    "MADCompetition": lambda x: plx.MADCompetition(
        x, plx.metric.mse, plx.metric.ssim_distance, "min", 1.0
    ),
    "Metamer": lambda x: plx.Metamer(x, MODEL),
    "metamer": lambda x: plx.metamer(x, MODEL, key=KEY),
    "metamer of seeds": lambda x: plx.metamer(x, MODEL, key=KEY, num_seeds=2),
    "MetamerCTF": lambda x: plx.MetamerCTF(x, MODEL),
    "metamer_ctf": lambda x: plx.metamer_ctf(x, MODEL, key=KEY),
    "Objective": lambda x: plx.Objective(jnp.sum, x.shape, image_dtype=x.dtype),
    "principal_distortions": lambda x: plx.principal_distortions(x, [MODEL] * 2, key=KEY),
    "synthesize": lambda x: plx.synthesize(jnp.sum, x.shape, image_dtype=x.dtype, key=KEY),
    "linalg.linearize": lambda x: plx.linalg.linearize(MODEL, x),
    "loss.groupwise_relative_l2_norm_factory": lambda x: (
        plx.loss.groupwise_relative_l2_norm_factory(MODEL, x)
    ),
    "loss.portilla_simoncelli_loss_factory": lambda x: plx.loss.portilla_simoncelli_loss_factory(
        MODEL, x
    ),
    "loss.whitened_loss_factory": lambda x: plx.loss.whitened_loss_factory(MODEL, x),
    "models.GramMatrices": lambda x: plx.models.GramMatrices(
        plx.models.features.FeatureExtractor(lambda y: checkpoint_name(y, "maps"), "maps")
    )(x),
    "models.PooledPortillaSimoncelli": lambda x: plx.models.PooledPortillaSimoncelli(
        plx.models.uniform_window((16, 16)), 1
    )(x),
    "models.ColorPortillaSimoncelli": lambda x: plx.models.ColorPortillaSimoncelli((16, 16), 1)(x),
    "models.PortillaSimoncelli": lambda x: plx.models.PortillaSimoncelli((16, 16), 1)(x),
    "process.modulate_phase": plx.process.modulate_phase,
    "validate.validate_input": plx.validate.validate_input,
}
PARAMETRIZATIONS = {
    "parametrize.DecorrelatedColor": plx.parametrize.DecorrelatedColor(jnp.eye(1)),
    "parametrize.FixedSpectrum": plx.parametrize.FixedSpectrum.from_images(jnp.ones((1, 16, 16))),
    "parametrize.Fourier": plx.parametrize.Fourier(),
    "parametrize.Masked": plx.parametrize.Masked(1.0, jnp.ones((1, 16, 16))),
    "parametrize.Pixels": plx.parametrize.Pixels(),
    "parametrize.Sigmoid": plx.parametrize.Sigmoid(),
}
for name, parametrization in PARAMETRIZATIONS.items():
    REFUSED[f"{name}.encode"] = parametrization.encode
    REFUSED[f"{name}.decode"] = parametrization.decode
DOUBLE = plx.linalg.LinearMap(lambda v: 2 * v, 16, 16, jnp.dtype("float32"), jnp.zeros(16))
REFUSED |= {
    "LinearMap": lambda x: plx.linalg.LinearMap(lambda v: v, 16, 16, x.dtype, x[0, 0]),
    "LinearMap.__call__": lambda x: DOUBLE(x[0]),
    "LinearMap.transpose": lambda x: DOUBLE.transpose(x[0]),
    "LinearMap.fisher": lambda x: DOUBLE.fisher(x[0]),
    "init of a problem of one's own": lambda x: plx.init(Quadratic(x, x), plx.lbfgs(), key=KEY),
    "init of a batch of them": lambda x: plx.init(
        plx.batch(lambda y: Quadratic(y, y), x[0]), plx.lbfgs(), key=KEY
    ),
}
# No image goes into them, or its shape alone.
WITHOUT_IMAGE = {
    "models.AbstractStatisticGroups",
    "models.AbstractTextureStatistics",
    *("models.AbstractPoolingWindows", "models.grid_windows", "models.log_polar_windows"),
    "models.uniform_window",
    "models.features.layer_names",
    # Metrics of any precision are compared with scores on the host.
    *("metric.Agreement", "metric.Estimate", "metric.evaluate", "metric.Evaluation"),
    *("process.disk", "process.named_filter", "process.polar_angle", "process.polar_radius"),
    *("process.raised_cosine", "regularize.allowed_range_of"),
}


def test_all_functions_of_images_are_tested():
    rooms = ("metric.", "models.", "loss.", "process.", "regularize.")
    public = {name for name in CALLABLES if name.startswith(rooms)}
    assert public - ONE_IMAGE.keys() - PAIRS.keys() - REFUSED.keys() == WITHOUT_IMAGE
    parametrizations = {name for name in CALLABLES if name.startswith("parametrize.")}
    assert parametrizations - PARAMETRIZATIONS.keys() == {"parametrize.AbstractParametrization"}
    methods = {name for name in vars(plx.synthesis) if name.islower() and name in CALLABLES}
    # These take what another method returns, and `null` takes images that it compares only.
    assert methods - REFUSED.keys() == {
        *("compare", "conditional_geodesic", "equal_detectability", "null", "precondition_path")
    }


def equations(jaxpr):
    """The equations of a program, and of the programs within it."""
    for equation in jaxpr.eqns:
        inner = [
            getattr(value, "jaxpr", value)
            for value in equation.params.values()
            if hasattr(getattr(value, "jaxpr", value), "eqns")
        ]
        if not inner:
            yield equation
        for program in inner:
            yield from equations(program)


# They take numbers from one place to another.
MOVES = {
    *("broadcast_in_dim", "concatenate", "gather", "reduce_max", "reduce_min", "reshape"),
    *("slice", "squeeze", "stop_gradient", "transpose", "dynamic_slice", "select_n", "stack"),
}


@pytest.mark.parametrize("name", [*ONE_IMAGE, *PAIRS])
def test_half_precision_is_computed_in_single_precision_and_rounded(name):
    function = (ONE_IMAGE | PAIRS)[name]
    shape = (1, 16, 16)
    count = 1 if name in ONE_IMAGE else 2
    single = jax.make_jaxpr(function)(*[jax.ShapeDtypeStruct(shape, "float32")] * count)
    for half in HALVES:
        program = jax.make_jaxpr(function)(*[jax.ShapeDtypeStruct(shape, half)] * count)
        for wanted, found in zip(single.out_avals, program.out_avals, strict=True):
            is_complex = jnp.issubdtype(wanted.dtype, jnp.complexfloating)
            assert found.dtype == (jnp.complex64 if is_complex else half)
            assert found.shape == wanted.shape
        computed = {
            equation.primitive.name
            for equation in equations(program.jaxpr)
            if any(variable.aval.dtype == half for variable in equation.outvars)
        }
        assert computed <= MOVES | {"convert_element_type"}


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("name", REFUSED)
def test_half_precision_is_refused(name, half, unchecked):
    with pytest.raises((TypeError, ValueError), match=rf"(float32|complex).*{half}"):
        REFUSED[name](jnp.asarray(image(), half))


@pytest.mark.parametrize("half", HALVES)
def test_structural_similarity_in_half_precision_is_that_in_double(half, x64):
    first, second = image(), image(1)
    noisy = np.clip(first + (second - 0.5) / 4, 0, 127 / 128)
    for pair in ((first, second), (first, noisy), (0 * first + 0.5, 0 * first + 0.25)):
        pair = cast(pair, half)
        wanted = plx.metric.ssim(*cast(pair, "float64"))
        found = plx.metric.ssim(*pair)
        assert abs(float(found) - float(wanted)) <= 0.51 * float(jnp.finfo(half).eps)


def test_docstrings_say_what_becomes_of_half_precision():
    for function in (plx.metric.ssim, plx.models.Gaussian.__call__, plx.process.shrink):
        assert "float16 or bfloat16 are converted to float32" in " ".join(function.__doc__.split())


def test_images_of_two_precisions_are_refused(unchecked):
    first, second = jnp.asarray(image(), jnp.float16), jnp.asarray(image(1), jnp.bfloat16)
    for function in (plx.metric.ssim, plx.loss.mse):
        with pytest.raises(TypeError, match="float16 and bfloat16"):
            function(first, second)
    # Options follow the image.
    blurred = plx.process.gaussian_blur(first, 3, jnp.asarray([1.0], jnp.float32))
    assert blurred.dtype == jnp.float16


METRIC_BOUNDS = {
    "ssim": (functools.partial(plx.metric.ssim, weighted=True), -1, 1, 1),
    "ssim_map": (plx.metric.ssim_map, -1, 1, 1),
    "ssim_distance": (plx.metric.ssim_distance, 0, 2, 0),
    "ms_ssim_distance": (
        functools.partial(plx.metric.ms_ssim_distance, power_factors=[0.4, 0.6]),
        *(0, 1, 0),
    ),
    "nlpd": (functools.partial(plx.metric.nlpd, epsilon=0.0), 0, np.inf, 0),
    "cw_ssim_distance": (functools.partial(plx.metric.cw_ssim_distance, level=1), 0, 1, 0),
    "fsim_distance": (plx.metric.fsim_distance, 0, 1, 0),
    "gmsd": (plx.metric.gmsd, 0, np.inf, 0),
    "haarpsi_distance": (plx.metric.haarpsi_distance, 0, 1, 0),
}


@pytest.mark.filterwarnings("ignore:The window of 11 x 11 pixels")
@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, "float32") for name in METRIC_BOUNDS), ("ssim_map", "float16")],
)
def test_metrics_keep_their_bounds(name, dtype):
    metric, low, high, equal = METRIC_BOUNDS[name]
    noise = image(3, (24, 1, 16, 16))
    constant = np.linspace(0, 1, 24)[:, None, None, None] * np.ones_like(noise)
    firsts = np.concatenate([noise, noise, constant, constant])
    seconds = np.concatenate([noise, 1 - noise, constant, np.clip(constant + 2e-3, 0, 1)])
    values = jax.jit(jax.vmap(metric))(*cast((firsts, seconds), dtype))
    assert values.dtype == dtype
    assert values.min() >= low
    assert values.max() <= high
    of_equal = np.asarray(jnp.concatenate([values[:24], values[48:72]]), np.float64)
    # What float32 leaves of a variance of zero, over the constant of the index.
    np.testing.assert_allclose(of_equal, equal, rtol=0, atol=0 if name == "nlpd" else 2e-6)


def test_bounds_leave_derivatives_alone():
    one, direction = (jnp.asarray(image(number) / 2, jnp.float32) for number in (0, 1))

    @jax.jit
    def distance(step):
        return plx.metric.ssim_distance(one, one + step * direction)

    curvature = jax.jit(jax.hessian(distance))(jnp.zeros(()))
    step = 0.01
    np.testing.assert_allclose(curvature, 2 * distance(step) / step**2, rtol=0.1)


def test_a_start_in_half_precision_is_refused():
    problem = plx.Metamer(jnp.asarray(image(), jnp.float32), MODEL)
    with pytest.raises(TypeError, match="float16"):
        plx.init(problem, optax.adam(0.1), initial_image=jnp.asarray(image(), jnp.float16))
