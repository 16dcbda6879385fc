"""What users give by mistake, and what they change behind a function's back."""

import functools as ft
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import plenoptax as plx

from .metamers import quietly
from .test_batches import Halves


@pytest.fixture
def image(getkey):
    return jax.random.uniform(getkey(), (1, 8, 8))


def distance(image, other):
    return jnp.sum((image - other) ** 2 * image)


METRICS = {"optimized_metric": distance, "reference_metric": plx.metric.mse}


@pytest.mark.parametrize(
    "synthesize",
    [
        ft.partial(plx.metamer, model=jnp.sin, target_representation=np.zeros((1, 8, 8))),
        ft.partial(plx.metamer_ctf, model=Halves()),
        ft.partial(plx.mad_competition, **METRICS, minmax="max"),
        lambda image, **o: plx.geodesic(image, image[:, ::-1], jnp.sin, n_steps=2, **o),
    ],
    ids=["metamer", "metamer_ctf", "mad", "geodesic"],
)
def test_numpy_images_of_64_bits_are_taken(synthesize, getkey, unchecked):
    image = np.random.default_rng(0).uniform(size=(1, 8, 8))
    result = synthesize(image, key=getkey(), max_steps=1, progress=False)
    assert result.image.dtype == jnp.float32


def test_numpy_images_of_64_bits_are_distorted(unchecked):
    image = np.random.default_rng(0).uniform(size=(1, 8, 8))
    found = plx.eigendistortions(image, jnp.sin, progress=False)
    assert found.eigendistortions.dtype == jnp.float32


WEIGHT = {"value": 1.0}


def weighted(image):
    return WEIGHT["value"] * image


def weighted_sum(*images):
    return WEIGHT["value"] * jnp.sum((images[0] - images[-1] / 2) ** 2)


class Static(eqx.Module):
    """A module with a function and an array."""

    function: Callable = eqx.field(static=True)
    bias: jax.Array

    def __call__(self, *images):
        return self.function(*images) + self.bias


class ReadsGlobal(eqx.Module):
    bias: jax.Array

    def __call__(self, image):
        return WEIGHT["value"] * image + self.bias


def bias(value=0.0):
    return jnp.asarray(value, jnp.float32)


IN_PLACE = np.ones((2, 1, 1), np.float32)


class Attribute:
    weight = 1.0

    def __call__(self, image):
        return self.weight * image


ATTRIBUTE = Attribute()
CHANGED = {
    "a global": lambda: {"model": weighted},
    "an attribute": lambda: {"model": ATTRIBUTE},
    "an array in place": lambda: {"model": in_place},
    "a loss": lambda: {"loss_function": weighted_sum},
    "a penalty": lambda: {"penalty_function": weighted_sum},
    "a static field": lambda: {"model": Static(weighted, bias())},
    "a method": lambda: {"model": ReadsGlobal(bias())},
    "a module in a partial": lambda: {"model": jax.tree_util.Partial(ReadsGlobal(bias()))},
    "a loss that is a module": lambda: {"loss_function": Static(weighted_sum, bias())},
    "a penalty that is a module": lambda: {"penalty_function": Static(weighted_sum, bias())},
}


def in_place(image):
    return IN_PLACE * image


@pytest.fixture
def change():
    """Change what all these functions read; undone after the test."""

    def apply(value):
        WEIGHT["value"] = ATTRIBUTE.weight = value
        IN_PLACE[:] = value

    yield apply
    apply(1.0)


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("kind", CHANGED)
def test_a_function_that_has_changed_is_refused(kind, batch, image, change):
    def pose():
        given = {"model": jnp.sin} | CHANGED[kind]()
        if batch:
            return plx.batch(lambda image: plx.Metamer(image, **given), jnp.stack([image] * 2))
        return plx.Metamer(image, **given)

    pose()
    pose()
    change(3.0)
    with pytest.raises(ValueError, match="must compute the same as at its first use"):
        pose()
    change(1.0)
    pose()


@pytest.mark.parametrize("wrap", [lambda function: function, lambda f: Static(f, bias())])
def test_an_objective_that_has_changed_is_refused(wrap, change):
    plx.Objective(wrap(weighted_sum), (1, 8, 8))
    change(3.0)
    with pytest.raises(ValueError, match="objective must compute the same as at its first"):
        plx.Objective(wrap(weighted_sum), (1, 8, 8))


@pytest.mark.parametrize("wrap", [lambda function: function, lambda f: Static(f, bias())])
def test_a_metric_that_has_changed_is_refused(wrap, image, change):
    def distance(a, b):
        return WEIGHT["value"] * jnp.sum((a - b) ** 2)

    def pose():
        return plx.MADCompetition(image, wrap(distance), plx.metric.mse, "min")

    pose()
    change(3.0)
    with pytest.raises(ValueError, match="metric must compute the same as at its first"):
        pose()


def test_other_values_functions_and_shapes_of_a_module_are_other_programs(image, change):
    for model in (
        Static(weighted, bias()),
        Static(weighted, bias(2.0)),
        Static(weighted, jnp.zeros((1, 1, 1))),
        Static(jnp.sin, bias()),
        Static(lambda image: image**2, bias()),
        Static(lambda image: image**2.0, bias()),
    ):
        np.testing.assert_allclose(plx.Metamer(image, model).target, model(image), rtol=1e-6)


def test_equal_numbers_of_other_kinds_are_no_change(image):
    class Power(eqx.Module):
        exponent: float | int

        def __call__(self, image):
            return image**self.exponent

    # Either would be refused as changed, if it were taken for the other.
    whole, real = (plx.Metamer(image, Power(exponent)) for exponent in (2, 2.0))
    np.testing.assert_allclose(whole.target, image**2, rtol=1e-6)
    np.testing.assert_allclose(real.target, whole.target, rtol=1e-6)


def test_what_the_user_has_compiled_cannot_be_seen_through(image, change):
    compiled = jax.jit(weighted)
    targets = []
    for value in (1.0, 3.0):
        change(value)
        targets.append(np.asarray(plx.Metamer(image, lambda image: compiled(image)).target))
    # JAX itself computes with the value of the first call.
    np.testing.assert_array_equal(compiled(image), image)
    np.testing.assert_array_equal(targets[1], targets[0])


def test_modules_may_change_as_they_like(image, getkey):
    class Scaled(eqx.Module):
        weight: jax.Array

        def __call__(self, image):
            return self.weight * image

    losses = [
        quietly(image, Scaled(jnp.asarray(w)), key=jax.random.key(0), max_steps=0).trace.losses[0]
        for w in (1.0, 3.0)
    ]
    assert losses[1] == pytest.approx(9 * losses[0], rel=1e-5)


def test_one_function_may_be_used_in_many_ways(getkey):
    def model(image):
        return jnp.matmul(image, image)

    def assert_posed(image, dtype):
        target = plx.Metamer(image, model).target
        assert target.dtype == dtype
        np.testing.assert_allclose(target, np.matmul(image, image), rtol=1e-5)

    image = jax.random.uniform(getkey(), (1, 8, 8))
    assert_posed(image, jnp.float32)
    assert_posed(image[:, :6, :6], jnp.float32)
    with jax.default_matmul_precision("float32"):
        assert_posed(image, jnp.float32)
    with jax.enable_x64(True):
        assert_posed(image.astype(jnp.float64), jnp.float64)
    assert_posed(image, jnp.float32)


@pytest.mark.parametrize(
    ("loss", "error", "match"),
    [
        ("mse", TypeError, "callable of two representations, got str"),
        (lambda a, b: (a - b) ** 2, ValueError, r"one number.*float32\[1, 8, 8\]"),
        (lambda a, b: 3, TypeError, "must return an array"),
        (lambda a, b: (jnp.sum(a), jnp.sum(b)), ValueError, "one number"),
        (lambda a, b: np.sum(np.asarray(a - b) ** 2), ValueError, "stay within JAX"),
    ],
)
def test_losses_that_are_none_are_named(loss, error, match, image, unchecked):
    for pose in (plx.Metamer, plx.MetamerCTF):
        with pytest.raises(error, match=match):
            pose(image, Halves(), loss)


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"solver": plx.stop.LossChange(1e-4, 50)}, TypeError, "optax transformation.*LossChange"),
        ({"key": 0}, TypeError, r"jax\.random\.key\(0\), got 0"),
        ({"penalty_lambda": None}, ValueError, "penalty_lambda must be a finite number"),
        ({"penalty_lambda": "0.1"}, ValueError, "penalty_lambda must be a finite number"),
        ({"num_seeds": 0}, ValueError, "num_seeds must be a whole number, at least 1"),
        ({"parametrization": "sigmoid"}, TypeError, "such as Sigmoid"),
        ({"parametrization": plx.parametrize.Sigmoid}, TypeError, "such as Sigmoid"),
    ],
)
def test_arguments_of_the_wrong_kind_are_named(options, error, match, image, unchecked):
    with pytest.raises(error, match=match):
        quietly(image, jnp.sin, **{"key": jax.random.key(0), "max_steps": 1, **options})


def test_a_forgotten_batch_axis_is_named(image):
    with pytest.raises(ValueError, match="image_shape|shape") as caught:
        quietly(image, plx.models.Gaussian(5), key=jax.random.key(0), batch=True)
    assert "indexes images, of shape (8, 8) each" in "".join(caught.value.__notes__)


def test_a_result_is_no_problem(image, unchecked):
    result = quietly(image, jnp.sin, key=jax.random.key(0), max_steps=1)
    with pytest.raises(TypeError, match="the problem of a result, got Result"):
        plx.run(result, result.solver, result.state, 1)
    with pytest.raises(TypeError, match="the problem of a result, got Result"):
        plx.init(result, result.solver, key=jax.random.key(0))


@pytest.mark.parametrize(
    ("options", "error", "match"),
    [
        ({"k": 0}, ValueError, "k must be a whole number, at least 1"),
        ({"k": 33}, ValueError, "must be at most 64, got k=33"),
        ({"noise": 0.1}, TypeError, "GaussianNoise.*float"),
        ({"subspace": np.ones((1, 8, 8), bool)}, TypeError, r"mask\(selected\).*ndarray"),
        ({"subspace": plx.linalg.mask(np.ones((4, 8), bool))}, ValueError, r"shape \(4, 8\)"),
        ({"resume": "found.npz"}, TypeError, "Eigendistortions.load"),
    ],
)
def test_arguments_of_eigendistortions_are_named(options, error, match, image, unchecked):
    with pytest.raises(error, match=match):
        plx.eigendistortions(image, jnp.sin, progress=False, **options)


def test_what_computes_the_whole_resumes_nothing(image):
    found = plx.eigendistortions(
        image, jnp.sin, method="block_lanczos", max_products=10, progress=False
    )
    for method in ("auto", "exact"):
        with pytest.raises(ValueError, match="'block_lanczos' or 'power' to resume"):
            plx.eigendistortions(image, jnp.sin, method=method, resume=found, progress=False)


def test_a_mask_of_one_plane_does_for_one_channel(image):
    selected = np.zeros((8, 8), bool)
    selected[2:5, 3:6] = True
    found = plx.eigendistortions(image, jnp.sin, subspace=plx.linalg.mask(selected), progress=False)
    assert found.eigendistortions.shape == (2, 1, 8, 8)
    assert not np.asarray(found.eigendistortions)[:, 0, ~selected].any()


def test_a_trace_is_shown_in_a_line(image):
    solver = plx.Solver(optax.adam(0.01))
    trace = quietly(image, jnp.sin, solver=solver, key=jax.random.key(0), max_steps=3).trace
    assert repr(trace).startswith("Trace(3 steps, loss ")
    assert len(repr(trace)) < 100


def test_what_is_no_state_is_not_saved(image, tmp_path, unchecked):
    result = quietly(image, jnp.sin, key=jax.random.key(0), max_steps=1)
    for arguments in (("text",), (result.state, result)):
        with pytest.raises(TypeError, match="must be a result, or a state and its trace"):
            plx.io.save(tmp_path / "state.npz", *arguments)
    with pytest.raises(TypeError, match="the problem of a result"):
        plx.io.save(tmp_path / "state.npz", result.state, problem=result)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("which", ["top", "bottom", "both"])
@pytest.mark.parametrize("method", ["auto", "block_lanczos"])
def test_more_are_sought_than_the_model_sees(method, which, image):
    def four_means(image):
        return image[0].mean(0)[:4]

    options = {"method": method, "which": which, "k": 6, "progress": False}
    found = plx.eigendistortions(image, four_means, **options)
    vectors = np.asarray(found.eigendistortions, np.float64).reshape(len(found.eigenvalues), -1)
    np.testing.assert_allclose(vectors @ vectors.T, np.eye(len(vectors)), atol=1e-5)
    seen = found.eigenindex < 4
    np.testing.assert_allclose(found.eigenvalues[seen], 1 / 8, rtol=1e-5)
    np.testing.assert_allclose(found.eigenvalues[~seen], 0, atol=1e-10)


def test_a_black_image_of_squares_has_no_visible_change():
    found = plx.eigendistortions(jnp.zeros((1, 8, 8)), lambda x: x**2, progress=False)
    assert found.eigenvalues.tolist() == [0, 0]
    assert bool(found.status["bottom"] == plx.linalg.EigenStatus.null_space)


def test_power_that_stops_before_the_null_space_has_not_converged(image):
    found = plx.eigendistortions(
        image, lambda x: x[0].mean(0)[:4], k=2, method="power", progress=False
    )
    assert found.null_dimension >= 60
    is_null = found.eigenvalues[-1] <= found.floor
    wanted = plx.linalg.EigenStatus.null_space if is_null else plx.linalg.EigenStatus.stagnated
    assert bool(found.status["bottom"] == wanted)


def test_an_unknown_end_is_named(image, unchecked):
    for method in ("auto", "block_lanczos"):
        with pytest.raises(ValueError, match="'top', 'bottom' or 'both', got 'x'"):
            plx.eigendistortions(image, jnp.sin, which="x", method=method, progress=False)


@pytest.mark.parametrize("weight", [-1.0, np.float32(-0.1), jnp.asarray(-2.0)])
def test_negative_weights_are_refused(weight, image, unchecked):
    with pytest.raises(ValueError, match="penalty_lambda must be a finite number at least 0"):
        plx.Metamer(image, jnp.sin, penalty_lambda=weight)


def test_a_value_that_no_image_has_is_told(image):
    metrics = {"optimized_metric": distance, "reference_metric": plx.metric.mse, "minmax": "max"}
    options = {"key": jax.random.key(0), "max_steps": 3, "progress": False}
    with pytest.warns(UserWarning, match="was to be held at 50, but ended"):
        plx.mad_competition(image, **metrics, reference_value=50.0, **options)
    with pytest.warns(UserWarning, match="was to be held at 50, but ended"):
        plx.mad_competition(image, **metrics, reference_value=50.0, num_seeds=2, **options)
    # Warnings are errors here.
    plx.mad_competition(image, **metrics, **options)


def test_a_set_does_not_start_from_the_image_itself(image):
    with pytest.raises(ValueError, match="reference_metric must not be 0"):
        plx.mad_competition_set(image, distance, plx.metric.mse, initial_image=image)


def test_objectives_have_seeds(getkey):
    options = {"max_steps": 3, "progress": False}
    several = plx.synthesize(bright, (1, 4, 4), key=jax.random.key(1), num_seeds=2, **options)
    for index, key in enumerate(jax.random.split(jax.random.key(1))):
        single = plx.synthesize(bright, (1, 4, 4), key=key, **options)
        np.testing.assert_allclose(several[index].image, single.image, rtol=1e-6)


def bright(image):
    return -jnp.sum(image)
