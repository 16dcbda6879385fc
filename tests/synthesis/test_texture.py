import jax
import jax.numpy as jnp
import numpy as np
import pytest

import plenoptax as plx


@pytest.fixture(scope="module")
def texture():
    return plx.data.brick()[:, :64, :64]


@pytest.fixture(scope="module")
def model():
    return plx.models.PortillaSimoncelli((64, 64), n_scales=2, spatial_corr_width=5)


def test_defaults_for_textures_are_the_weighted_loss_and_faint_noise(texture, model, getkey):
    problem = plx.Metamer(texture, model)
    wanted = plx.loss.portilla_simoncelli_loss_factory(model, texture)
    np.testing.assert_array_equal(problem.loss_function.weights, wanted.weights)
    start = problem.initial_image(getkey())
    mean = float(texture.mean())
    assert abs(float(start.mean()) - mean) < 2e-3
    assert mean - 0.0501 < float(start.min()) < float(start.max()) < mean + 0.0501
    assert 0.02 < float(start.std()) < 0.04


def test_texture_metamers_match_the_statistics_and_not_the_pixels(texture, model):
    result = plx.metamer(
        texture, model, key=jax.random.key(0), num_seeds=2, max_steps=250, progress=False
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


def test_metamers_of_another_size_than_the_target(texture, model, getkey):
    mean = float(texture.mean())
    start = mean + 0.1 * (jax.random.uniform(getkey(), (1, 80, 72)) - 0.5)
    with pytest.warns(UserWarning, match="shape"):
        result = plx.metamer(texture, model, initial_image=start, max_steps=60, progress=False)
    assert result.image.shape == (1, 80, 72)
    assert result.trace.losses[-1] < 0.2 * result.trace.losses[0]


@pytest.fixture(scope="module")
def solver():
    # The type checks of the tests wrap the functions inside of lbfgs: two of them compile twice.
    return plx.Solver(plx.lbfgs())


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
