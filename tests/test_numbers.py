"""Numbers that users give: NumPy's work as Python's, and what cannot be meant is refused."""

import collections.abc
import functools
import inspect
import typing

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import plenoptax as plx
from plenoptax._rules import checked, Real, Whole

from .test_api import CALLABLES, functions_and_methods, RECORDS


# Made by the package, not by users.
NOT_GIVEN = {*RECORDS, "Eigendistortions", "GeneralizedEigendistortions", "linalg.LinearMap"}
# Asked by the loop.
NOT_GIVEN |= {"AbstractProblem.element"}
# Parts of a figure, which matplotlib checks; and what has a class of its own.
NAMES_LEFT_ALONE = {
    *("alpha", "axes_idx", "figsize", "vrange", "width_ratios", "xlim", "ylim", "zoom"),
    *("record", "checkpoint", "penalty_lambda"),
}
FRONT_ENDS = ("LuminanceContrastGainControl", "LuminanceGainControl", "OnOff")
PACKED = ("num_channels", "pack_info", "pyr_keys", "split_complex_pack_info")
CHECKED_OTHERWISE = {
    # In the function, since there are words among the numbers.
    *("models.PortillaSimoncelli.__call__.scales", "process.SteerablePyramidFreq.__call__.scales"),
    "models.ColorPortillaSimoncelli.__call__.scales",
    *("models.AbstractTextureStatistics.remove_scales.scales_to_keep",),
    *("process.SteerablePyramidFreq.recon_pyr.levels",),
    *("process.SteerablePyramidFreq.recon_pyr.bands", "validate.validate_input.allowed_range"),
    # In the function, which optax takes apart.
    *("amsgrad.learning_rate", "amsgrad.b1", "amsgrad.b2", "amsgrad.eps"),
    # In the class.
    *("Checkpoint.seconds", "Record.every"),
    # By the problem that the function poses.
    *("metamer_ctf.change_scale_criterion", "metamer_ctf.change_scale_loss"),
    *("metamer_ctf.ctf_iters_to_check", "mad_competition.metric_tradeoff_lambda"),
    "metamer_ctf.max_stage_steps",
    *("mad_competition.initial_noise", "mad_competition.reference_value"),
    *("mad_competition_set.metric_tradeoff_lambda", "geodesic.n_steps", "synthesize.image_shape"),
    # By `imshow`, or as a zoom is.
    *(f"models.{name}.display_filters.col_wrap" for name in FRONT_ENDS),
    # Moments, which are arrays as a rule.
    *("process.variance.mean", "process.skew.mean", "process.skew.var"),
    *("process.kurtosis.mean", "process.kurtosis.var"),
    # Made by `convert_pyr_to_tensor`.
    *(f"process.SteerablePyramidFreq.convert_tensor_to_pyr.{name}" for name in PACKED),
}


def takes_numbers(annotation):
    """Whether an annotation is of a number, or of several; arrays are none, and keys are none."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Literal, dict, collections.abc.Mapping) or jax.Array in inner:
        return False
    return annotation in (int, float) or any(map(takes_numbers, inner))


def rules_of(function):
    """The rules for the arguments of a function, or of a class."""
    if not isinstance(function, type):
        return getattr(function, "rules", {})
    converters = {
        name: field.metadata["converter"].func
        for name, field in getattr(function, "__dataclass_fields__", {}).items()
        # Others make arrays of a field.
        if isinstance(field.metadata.get("converter"), functools.partial)
    }
    return converters | getattr(function.__init__, "rules", {})


RULES = {
    (name, parameter): (function, rule)
    for name, function in functions_and_methods()
    for parameter, rule in rules_of(function).items()
}
WHOLE = {key for key, (_, rule) in RULES.items() if isinstance(rule, Whole)}


def call_with(name, parameter, value):
    """Give one argument alone: it is checked before the others are missed."""
    function, _ = RULES[name, parameter]
    others = {}
    if isinstance(function, type) and not hasattr(function.__init__, "rules"):
        # Fields are converted when all of them are there.
        required = inspect.signature(function).parameters.values()
        others = {one.name: None for one in required if one.default is one.empty}
    is_method = name not in CALLABLES
    return function(*[None] * is_method, **(others | {parameter: value}))


def test_every_number_has_a_rule():
    without = {
        f"{name}.{parameter.name}"
        for name, function in functions_and_methods()
        for parameter in inspect.signature(function).parameters.values()
        if takes_numbers(parameter.annotation)
        and (name, parameter.name) not in RULES
        and parameter.name not in NAMES_LEFT_ALONE
        and not any(name == one or name.startswith(f"{one}.") for one in NOT_GIVEN)
    }
    assert without == CHECKED_OTHERWISE


@pytest.mark.parametrize(("name", "parameter"), sorted(WHOLE))
def test_whole_numbers_are_whole(name, parameter, unchecked):
    for value in (2.0, np.float64(2), np.float32(2), jnp.asarray(2.0), True, np.True_, "2"):
        with pytest.raises(ValueError, match=f"{parameter} must be a whole number"):
            call_with(name, parameter, value)
    _, rule = RULES[name, parameter]
    least = rule.at_least
    if least is not None:
        with pytest.raises(
            ValueError, match=f"{parameter} must be a whole number, at least {least}"
        ):
            call_with(name, parameter, np.int64(least - 1))
    if rule.several:
        with pytest.raises(ValueError, match=f"{parameter} must be a whole number"):
            call_with(name, parameter, (2, 2.0))


@pytest.mark.parametrize(("name", "parameter"), sorted(RULES.keys() - WHOLE))
def test_real_numbers_are_in_their_range(name, parameter, unchecked):
    _, rule = RULES[name, parameter]
    wrong = [np.nan, np.float32(np.nan), True, 1j, "nothing", [0.5, np.nan]]
    wrong += [np.inf] if rule.finite else []
    wrong += [rule.above, np.float64(rule.above - 1)] if rule.above is not None else []
    wrong += (
        [rule.at_least - 0.1, jnp.asarray(rule.at_least - 1)] if rule.at_least is not None else []
    )
    wrong += [rule.below] if rule.below is not None else []
    wrong += [rule.at_most + 0.1] if rule.at_most is not None else []
    for value in wrong:
        with pytest.raises(ValueError, match=f"{parameter} must be a (finite )?number"):
            call_with(name, parameter, value)


def test_rules_convert_what_they_let_through():
    @checked(
        count=Whole(1), sizes=Whole(1, several=True), height=Whole(words=("auto",)), rate=Real()
    )
    def function(count, sizes=3, *, height="auto", rate: float | None = 1.0):
        return count, sizes, height, rate

    for count in (2, np.int8(2), np.int64(2), np.uint8(2), jnp.asarray(2)):
        found, *_ = function(count)
        assert (type(found), found) == (int, 2)
    for sizes in ((3, 4), [np.int64(3), 4], np.asarray([3, 4]), jnp.asarray([3, 4])):
        found = function(1, sizes)[1]
        assert found == (3, 4)
        assert [type(one) for one in found] == [int, int]
    assert function(count=np.int64(1), height=np.int64(-3), rate=None) == (1, 3, -3, None)
    with pytest.raises(ValueError, match="sizes must be a whole number, at least 1, got None"):
        function(1, None)
    found = function(1, rate=np.float64(0.5))[3]
    assert (type(found), found) == (float, 0.5)
    schedule = optax.constant_schedule(0.1)
    assert Real(above=0, schedule=True)("rate", schedule) is schedule
    assert jax.jit(lambda rate: Real(above=0)("rate", rate))(-1.0) == -1
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'count'"):
        function()
    with pytest.raises(TypeError, match="unexpected keyword argument 'other'"):
        function(1, other=2)


MODEL = plx.models.Gaussian(3)
KEY = jax.random.key(0)


def image():
    return jnp.asarray(np.random.default_rng(0).random((1, 16, 16)), jnp.float32)


def program(function, *arguments):
    """What a function does, without doing it."""
    shapes = arguments or (jax.ShapeDtypeStruct((1, 16, 16), "float32"),)
    return str(jax.make_jaxpr(function)(*shapes))


def pyramid():
    return plx.process.SteerablePyramidFreq((16, 16), 1, 1)


def texture(n=2):
    return plx.models.PortillaSimoncelli((8 * n, 8 * n), n - 1, n, n - 1)


def run_a_little(n):
    problem = plx.Objective(jnp.sum, (1, 2))
    solver = plx.Solver(optax.sgd(0.1), stop=plx.stop.LossChange(window=n))
    _, trace = plx.run(problem, solver, plx.init(problem, solver, key=KEY), n, record=n)
    return trace.losses.shape, trace.image_steps


# Calls with a whole number n, which give the same for an n of NumPy.
CALLS = {
    "run": run_a_little,
    "Geodesic": lambda n: plx.Geodesic(image(), 1 - image(), MODEL, n_steps=n).n_steps,
    "Record": lambda n: plx.Record(every=n).every,
    "stop": lambda n: plx.stop.RelativeLossChange(window=n).window,
    "lbfgs": lambda n: jax.eval_shape(plx.lbfgs(n, max_trials=n).init, jnp.ones(3)).memory,
    "Power": lambda n: plx.linalg.Power(None, k=n, max_iter=n).k,
    "SteerablePyramidFreq": lambda n: (
        plx.process.SteerablePyramidFreq((8 * n, 8 * n), n - 1, n - 1).image_shape
    ),
    "bands of a pyramid": lambda n: program(
        lambda x: pyramid().recon_pyr(pyramid()(x), levels=n - 2, bands=n - 1)
    ),
    "PortillaSimoncelli": lambda n: texture(n).num_statistics,
    "labels of PortillaSimoncelli": lambda n: program(
        lambda x: texture().remove_scales(x, [n - 2]), jnp.ones(texture().num_statistics)
    ),
    "LaplacianPyramid": lambda n: program(plx.process.LaplacianPyramid(n)),
    "blur_downsample": lambda n: program(lambda x: plx.process.blur_downsample(x, n)),
    "upsample_blur": lambda n: program(lambda x: plx.process.upsample_blur(x, (n - 2, n - 1), n)),
    "gaussian_blur": lambda n: program(lambda x: plx.process.gaussian_blur(x, (n + 1, n), 1.0)),
    "same_padding": lambda n: program(lambda x: plx.process.same_padding(x, n + 1, (n, n))),
    "center_crop": lambda n: program(lambda x: plx.process.center_crop(x, n)),
    "variance": lambda n: program(lambda x: plx.process.variance(x, dim=(n - 1, n))),
    "skew": lambda n: program(lambda x: plx.process.skew(x, dim=n)),
    "polar_angle": lambda n: plx.process.polar_angle((n, n)),
    "disk": lambda n: plx.process.disk(n),
    "Gaussian": lambda n: plx.models.Gaussian(n + 1, [1.0, 2.0], out_channels=n),
    "LinearNonlinear": lambda n: plx.models.LinearNonlinear(29 + n, pretrained=True),
    "stimuli": lambda n: [plx.data.grating((n, n)), plx.data.checkerboard(n, square_size=n)],
}


@pytest.mark.parametrize("name", CALLS)
def test_numpy_integers_work_as_pythons(name, unchecked):
    wanted, found = CALLS[name](2), CALLS[name](np.int64(2))
    assert jax.tree.structure(found) == jax.tree.structure(wanted)
    for one, other in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
        assert type(one) is type(other)
        np.testing.assert_array_equal(one, other)


def test_numpy_floats_work_as_pythons(unchecked):
    half = np.float32(0.5)
    epsilon = plx.metric.ModelMetric(MODEL, half).epsilon
    assert (type(epsilon), epsilon) == (float, 0.5)
    seconds = plx.Checkpoint("run.npz", half).seconds
    assert (type(seconds), seconds) == (float, 0.5)
    assert plx.Metamer(image(), MODEL, penalty_lambda=half).penalty_lambda == 0.5
    assert plx.stop.LossChange(half).tolerance == 0.5
    for one, other in ((half, 0.5), (np.float64(2.5), 2.5)):
        found = program(lambda x, one=one: plx.metric.nlpd(x, x, one))
        assert found == program(lambda x, other=other: plx.metric.nlpd(x, x, other))


REFUSED = {
    "radii": (lambda: plx.process.disk(16, 3, 5), "inner_radius must not be larger"),
    "default radius": (lambda: plx.process.disk(16, inner_radius=8), "inner_radius must not"),
    "weight of MAD": (
        lambda: plx.MADCompetition(image(), plx.metric.mse, plx.metric.mse, "min", -1.0),
        "metric_tradeoff_lambda must be a finite number at least 0 or 'auto'",
    ),
    "criterion": (
        lambda: plx.MetamerCTF(image(), MODEL, change_scale_criterion=-0.1),
        "change_scale_criterion must be a finite number at least 0",
    ),
    "loss of a scale": (
        lambda: plx.MetamerCTF(image(), MODEL, change_scale_loss=np.nan),
        "change_scale_loss must be a finite number at least 0",
    ),
    "checkpoint": (lambda: plx.Checkpoint("run.npz", seconds=np.nan), "seconds must be a finite"),
    "negative checkpoint": (lambda: plx.Checkpoint("run.npz", -1), "seconds must be a finite"),
    "checkpoint in words": (lambda: plx.Checkpoint("run.npz", "30"), "seconds must be a finite"),
    "record": (lambda: plx.Record(every=2.0), "every must be a whole number, at least 0"),
    "record as in plenoptic": (lambda: plx.Record(every=True), "Give 1 to record every image"),
    "band": (
        lambda: plx.process.SteerablePyramidFreq((16, 16), 1, 1).recon_pyr({}, bands=1.0),
        "bands must be a whole number",
    ),
    "label": (
        lambda: plx.models.PortillaSimoncelli((16, 16), 1, 2, 1)(image(), scales=[0.0]),
        "scales must be some of",
    ),
    "range": (
        lambda: plx.regularize.penalize_range(image(), (1.0, 0.0)),
        "allowed_range must be .lowest, highest.",
    ),
    "binary values": (
        lambda: plx.regularize.penalize_nonbinary(image(), (0.5, 0.5)),
        "two different numbers",
    ),
    "weight of a penalty": (
        lambda: plx.Metamer(image(), MODEL, penalty_lambda=np.inf),
        "penalty_lambda must be a finite number at least 0 or a schedule",
    ),
    "standard deviations": (
        lambda: plx.loss.ZScored(jnp.zeros(2), jnp.asarray([1.0, -1.0])),
        "standard_deviation must be a finite number at least 0",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_meant_is_refused(name, unchecked):
    call, message = REFUSED[name]
    with pytest.raises(ValueError, match=message):
        call()
