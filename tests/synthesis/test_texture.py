import jax
import jax.numpy as jnp
import numpy as np
import pytest

import plenoptax as plx
from plenoptax._compiled import call_compiled
from plenoptax.synthesis._judge import judge


@pytest.fixture(scope="module")
def texture():
    return plx.data.brick()[:, :64, :64]


@pytest.fixture(scope="module")
def model():
    return plx.models.PortillaSimoncelli((64, 64), n_scales=2, spatial_corr_width=5)


@pytest.fixture(scope="module")
def solver():
    # The type checks of the tests wrap the functions inside of lbfgs: two of them compile twice.
    return plx.Solver(plx.lbfgs())


def test_defaults_for_textures_are_the_whitened_loss_and_faint_noise(texture, model, getkey):
    problem = plx.Metamer(texture, model)
    wanted = plx.loss.portilla_simoncelli_loss_factory(model, texture)
    np.testing.assert_array_equal(problem.loss_function.base.weights, wanted.weights)
    assert problem.loss_function.whitening.shape == (1, 216, 216)
    start = problem.initial_image(getkey())
    mean = float(texture.mean())
    assert abs(float(start.mean()) - mean) < 2e-3
    assert mean - 0.0501 < float(start.min()) < float(start.max()) < mean + 0.0501
    assert 0.02 < float(start.std()) < 0.04


def test_texture_metamers_match_the_statistics_and_not_the_pixels(texture, model):
    result = plx.metamer(
        texture, model, key=jax.random.key(0), num_seeds=2, max_steps=100, progress=False
    )
    for trace in result.trace.elements:
        assert trace.losses[-1] < 2e-2 * trace.losses[0]
    first, second = (np.asarray(image) for image in result.image)
    difference = np.abs(np.asarray(model(result.image[0]) - model(texture)))
    start = np.abs(np.asarray(model(result.problem[0].initial_image(jax.random.key(0)))))
    assert np.median(difference) < 0.05 * np.median(start)
    for one, other in ((first, second), (first, np.asarray(texture))):
        assert np.corrcoef(one.ravel(), other.ravel())[0, 1] < 0.6


def test_another_texture_compiles_nothing(model):
    compiled = []

    def listen(event, duration, **unused):
        if event == "/jax/core/compile/backend_compile_duration":
            compiled.append(event)

    jax.monitoring.register_event_duration_secs_listener(listen)
    try:
        counts = []
        # One solver for both: the type checks of the tests wrap the functions inside of lbfgs, and
        # the wrappers of two optimizers are not equal.
        options = {"solver": plx.Solver(plx.lbfgs()), "key": jax.random.key(0), "progress": False}
        for name in ("grass", "gravel"):
            compiled.clear()
            image = plx.data.get(name)[:, :64, :64]
            plx.metamer(image, model, max_steps=3, **options)
            counts.append(len(compiled))
    finally:
        jax.monitoring.clear_event_listeners()
    assert counts[0] > 0
    assert counts[1] == 0


def test_metamers_of_another_size_than_the_target(texture, model, solver, getkey):
    mean = float(texture.mean())
    start = mean + 0.1 * (jax.random.uniform(getkey(), (1, 80, 72)) - 0.5)
    options = {"initial_image": start, "solver": solver, "progress": False}
    with pytest.warns(UserWarning, match="shape"):
        result = plx.metamer(texture, model, max_steps=300, **options)
    assert result.image.shape == (1, 80, 72)
    found, target = result.report().groups, model(texture)
    # Every group is nearer to the target than those of noise and of another texture are.
    for other in (start, plx.data.gravel()[:, :64, :64]):
        for name, group in judge(model, call_compiled(model, other), target, None).items():
            assert found[name].relative_error < 0.2 * group.relative_error, name


def test_the_mean_of_two_textures_is_matched_by_a_mixture(texture, model, solver, getkey):
    other = plx.data.grass()[:, :64, :64]
    mean = 0.5 * (model(texture) + model(other))
    result = plx.metamer(
        texture,
        model,
        target_representation=mean,
        key=getkey(),
        solver=solver,
        max_steps=100,
        progress=False,
    )
    assert result.trace.losses[-1] < 2e-2 * result.trace.losses[0]
    loss, found = result.problem.loss_function.base, model(result.image)
    apart = float(loss(model(texture), model(other)))
    last = result.trace.terms["weighted_loss"][-1]
    np.testing.assert_allclose(loss(found, mean), last, rtol=1e-3)
    for one in (texture, other):
        np.testing.assert_allclose(loss(found, model(one)), apart / 2, rtol=0.05)


def test_the_objective_is_about_the_representation_that_was_given(getkey):
    first, second, other = jax.random.uniform(getkey(), (3, 1, 8, 8))
    model = jnp.sin
    problem = plx.Metamer(first, model, target_representation=np.asarray(model(second)))
    same = plx.Metamer(second, model)
    np.testing.assert_allclose(problem.target, same.target, rtol=1e-6)
    np.testing.assert_allclose(problem.residual(other), same.residual(other), atol=1e-6)
    for value in (problem.objective(other, None)[0], problem.objective_function(other)):
        np.testing.assert_allclose(value, same.objective_function(other), rtol=1e-5)
    assert problem.objective_function(first) > 1e-3


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (np.zeros((1, 8, 9), np.float32), r"float32\[1, 8, 9\]"),
        (np.zeros((1, 8, 8), np.int32), r"int32\[1, 8, 8\]"),
        ({"blur": np.zeros((1, 8, 8), np.float32)}, r"{'blur': 'float32\[1, 8, 8\]'}"),
        (0.5, "0.5"),
    ],
)
def test_representations_unlike_the_models_are_refused(given, named, unchecked):
    image, model = jnp.full((1, 8, 8), 0.5), plx.models.Gaussian(5)
    message = f"representation of the image, float32\\[1, 8, 8\\], got {named}"
    with pytest.raises(ValueError, match=message):
        plx.Metamer(image, model, target_representation=given)
    with pytest.raises(ValueError, match=message):
        plx.metamer(image, model, target_representation=given, key=jax.random.key(0))


def test_a_texture_is_extrapolated_from_the_pixels_that_are_kept(texture, solver, getkey):
    texture, key = texture[:, :32, :32], getkey()
    moves = np.zeros((32, 32), bool)
    moves[8:24, 4:20] = True
    result = plx.metamer(
        texture,
        plx.models.PortillaSimoncelli((32, 32), n_scales=1, spatial_corr_width=5),
        parametrization=plx.parametrize.Masked(moves, texture),
        key=key,
        solver=solver,
        max_steps=60,
        progress=False,
    )
    image = np.asarray(result.image)
    np.testing.assert_array_equal(image[:, ~moves], np.asarray(texture)[:, ~moves])
    start = np.asarray(result.problem.initial_image(key))
    for before in (start, np.asarray(texture)):
        assert (image[:, moves] != before[:, moves]).all()
    assert result.trace.losses[-1] < 0.1 * result.trace.losses[0]


@pytest.mark.parametrize("name", ["black", "constant", "checkerboard"])
def test_degenerate_targets_do_not_break_a_synthesis(name, model, solver, getkey):
    rows, columns = np.indices((64, 64))
    image = {
        "black": np.zeros((64, 64)),
        "constant": np.full((64, 64), 0.5),
        "checkerboard": (rows + columns) % 2,
    }[name]
    image = jnp.asarray(image[None], jnp.float32)
    result = plx.metamer(image, model, key=getkey(), solver=solver, max_steps=20, progress=False)
    assert np.isfinite(result.trace.losses).all()
    assert np.isfinite(result.image).all()
