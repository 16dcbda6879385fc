import pathlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import plenoptax as plx


REFERENCE = pathlib.Path(__file__).parents[1] / "reference" / "geodesic.npz"


class Weights(eqx.Module):
    """Weighted sums of the pixels."""

    matrix: jax.Array

    def __call__(self, image):
        return self.matrix @ jnp.ravel(image)


class Curved(Weights):
    """The model of the reference values."""

    def __call__(self, image):
        sums = self.matrix @ jnp.ravel(image)
        return jnp.concatenate([sums**2, jnp.tanh(sums)])


def project_to_sphere(image):
    return image / jnp.sqrt(jnp.sum(image**2))


def amplitudes(image):
    spectrum = jnp.fft.fft2(image)
    return jnp.sqrt(spectrum.real**2 + spectrum.imag**2 + 1e-4) / image.shape[-1]


FAST = plx.precondition_path(plx.lbfgs(20))


# All tests have the same shapes and options, so that the programs are compiled once.
def converge(first, last, model, *, start, max_steps=200):
    if start == "bridge":
        key = jax.random.key(3)
        start = plx.process.sample_brownian_bridge(first, last, 8, key=key)
    else:
        start = plx.process.make_straight_line(first, last, 8)
    return plx.geodesic(
        first, last, model, 8, initial_image=start, optimizer=FAST, max_steps=max_steps,
        progress=False
    )  # fmt: skip


def condition(result, tolerance=0.01, **options):
    return plx.conditional_geodesic(
        result, tolerance, optimizer=FAST, max_steps=3000, progress=False, **options
    )


@pytest.fixture
def ends(x64, getkey):
    return tuple(jax.random.uniform(getkey(), (2, 1, 8, 8), jnp.float64, 0.2, 0.8))


@pytest.fixture
def blind(x64, rng):
    """A linear model that sees half of the dimensions of these images."""
    matrix = rng.normal(size=(64, 64)) / 8
    matrix[::2] = 0
    return Weights(jnp.asarray(matrix))


@pytest.fixture
def reference(x64):
    loaded = np.load(REFERENCE)
    names = ("image_a", "image_b", "weights", "start", "end")
    return {name: jnp.asarray(loaded[name]) if name in names else loaded[name] for name in loaded}


@pytest.fixture
def posed(reference):
    model = Curved(reference["weights"])
    return plx.Geodesic(reference["image_a"], reference["image_b"], model, n_steps=6)


def test_objective_and_gradient_are_plenoptics(reference, posed):
    start = reference["start"]
    np.testing.assert_allclose(posed.objective_function(start), reference["loss"], rtol=1e-12)
    loss, gradient = jax.value_and_grad(lambda z: posed.objective(z, None)[0])(posed.encode(start))
    np.testing.assert_allclose(loss, reference["loss"], rtol=1e-12)
    np.testing.assert_allclose(gradient, reference["gradient"], rtol=1e-9, atol=1e-12)
    outside = start - jnp.clip(start, 0, 1)
    assert jnp.sum(outside**2) > 0.1
    penalty = posed.objective_function(start) - posed.energy(start)
    np.testing.assert_allclose(penalty, 0.1 * jnp.sum(outside**2), rtol=1e-9)


def test_jerkiness_is_plenoptics(reference, posed):
    found = posed.calculate_jerkiness(reference["start"])
    np.testing.assert_allclose(found, reference["jerkiness"], rtol=1e-9)
    gradient = jax.grad(posed.energy)(reference["start"])[1:-1] * posed.n_steps
    acceleration = jnp.diff(jax.vmap(posed.model)(reference["start"]), n=2, axis=0)
    by_gradient = jnp.sum(gradient**2, (1, 2, 3)) / (4 * jnp.sum(acceleration**2, 1))
    np.testing.assert_allclose(found, by_gradient, rtol=1e-9)


def test_adam_takes_plenoptics_steps(reference, posed):
    solver = plx.Solver(optax.adam(0.01), stop=plx.stop.Never())
    state = plx.init(posed, solver, initial_image=reference["start"])
    state, trace = plx.run(posed, solver, state, 15)
    np.testing.assert_allclose(trace.losses[:-1], reference["losses"], rtol=1e-6)
    np.testing.assert_allclose(trace.pixel_change_norm, reference["pixel_change_norm"], rtol=1e-7)
    np.testing.assert_allclose(posed.decode(state.accepted_z), reference["end"], atol=1e-9)
    # plenoptic stores these before the first step and then of the step before.
    np.testing.assert_allclose(
        trace.terms["step_energy"][:14], reference["step_energy"][1:, :, 0], rtol=1e-8
    )
    np.testing.assert_allclose(
        trace.terms["deviation_from_line"][:14], reference["deviation_from_line"][1:], atol=1e-8
    )


def test_default_optimizer_and_stop_are_plenoptics(reference, posed):
    result = plx.geodesic(
        posed.image_a, posed.image_b, posed.model, n_steps=6, max_steps=15, progress=False
    )
    wanted = reference["losses_by_default"]
    np.testing.assert_allclose(result.trace.losses[:2], wanted[:2], rtol=1e-6)
    np.testing.assert_allclose(result.trace.losses[:-1], wanted, rtol=1e-5)
    tolerance = posed.default_stop().tolerance
    np.testing.assert_allclose(tolerance, reference["stop_criterion"], rtol=1e-4)
    assert posed.default_stop().window == 50


def test_default_stop_is_a_share_of_the_norm_of_the_fade(ends, blind):
    for n_steps in (3, 20):
        problem = plx.Geodesic(*ends, blind, n_steps)
        ratio = problem.default_stop().tolerance / jnp.linalg.norm(problem.pixelfade.ravel())
        # What plenoptic printed for paths of 10 and 20 steps, 7.76675e-03 and 1.07149e-02.
        np.testing.assert_allclose(ratio, 1.6180e-4, rtol=1e-4)


def test_traces_hold_energies_and_deviations(ends, blind):
    result = plx.geodesic(*ends, blind, 5, "bridge", key=jax.random.key(1), max_steps=7, record=2,
                          progress=False)  # fmt: skip
    assert result.image.shape == (6, 1, 8, 8)
    assert result.trace.terms["step_energy"].shape == (8, 5)
    assert result.trace.terms["deviation_from_line"].shape == (8, 6, 2)
    assert result.trace.images.shape == (4, 6, 1, 8, 8)
    problem, path = result.problem, result.image
    np.testing.assert_array_equal(path[0], ends[0])
    np.testing.assert_array_equal(path[-1], ends[1])
    last = {name: values[-1] for name, values in result.trace.terms.items()}
    np.testing.assert_allclose(problem.step_energy(path), last["step_energy"], rtol=1e-9)
    np.testing.assert_allclose(
        problem.deviation_from_line(path), last["deviation_from_line"], atol=1e-9
    )
    np.testing.assert_allclose(problem.energy(path), last["step_energy"].mean(), rtol=1e-9)
    np.testing.assert_allclose(problem.objective_function(path), result.trace.losses[-1], rtol=1e-9)


def test_starts(ends, blind):
    straight = plx.Geodesic(*ends, blind, n_steps=4)
    key = jax.random.key(0)
    np.testing.assert_array_equal(straight.initial_image(key), straight.pixelfade)
    np.testing.assert_allclose(straight.pixelfade[1], 0.75 * ends[0] + 0.25 * ends[1], rtol=1e-12)
    bridge = plx.Geodesic(*ends, blind, 4, "bridge")
    drawn = [bridge.initial_image(jax.random.key(seed)) for seed in (0, 0, 1)]
    np.testing.assert_array_equal(drawn[0], drawn[1])
    assert float(jnp.max(jnp.abs(drawn[0] - drawn[2]))) > 0.01
    np.testing.assert_array_equal(drawn[0][jnp.array([0, -1])], jnp.stack(ends))


def test_straight_line_is_the_geodesic_of_a_linear_model(ends, rng):
    # Singular values from 1 to 2, or the optimizer takes long.
    orthogonal, _ = np.linalg.qr(rng.normal(size=(64, 64)))
    full = Weights(jnp.asarray(orthogonal * np.linspace(1, 2, 64)))
    result = converge(*ends, full, start="bridge")
    np.testing.assert_allclose(result.image, result.problem.pixelfade, atol=1e-6)
    gradient = jax.grad(result.problem.energy)(result.problem.pixelfade)[1:-1]
    assert float(jnp.max(jnp.abs(gradient))) < 1e-12
    assert float(jnp.max(result.problem.calculate_jerkiness(result.problem.pixelfade))) == 0


def test_unconditional_and_conditional_geodesic_of_a_blind_model(ends, blind):
    result = converge(*ends, blind, start="bridge")
    problem, path = result.problem, result.image
    least = jnp.sum((problem.ends[1] - problem.ends[0]) ** 2) / 8**2
    np.testing.assert_allclose(problem.energy(path), least, rtol=1e-4)
    assert float(jnp.max(problem.deviation_from_line(path)[:, 1])) < 0.02
    _, away = plx.process.deviation_from_line(path)
    assert float(jnp.max(away)) > 0.1
    conditional = condition(result)
    np.testing.assert_allclose(conditional.image, problem.pixelfade, atol=1e-4)
    assert conditional.status == plx.Status.plateau


@pytest.mark.parametrize("start", ["straight", "bridge"])
def test_geodesics_of_a_normalizing_model_are_great_circles(start, ends):
    result = converge(*ends, project_to_sphere, start=start)
    first, last = (jnp.ravel(project_to_sphere(end)) for end in ends)
    angle = jnp.arccos(first @ last)
    time = jnp.linspace(0, 1, 9)[:, None]
    circle = jnp.sin((1 - time) * angle) * first[None] + jnp.sin(time * angle) * last[None]
    found = jax.vmap(project_to_sphere)(result.image).reshape(9, -1)
    np.testing.assert_allclose(found, circle / jnp.sin(angle), atol=1e-6)
    energy = result.problem.step_energy(result.image)
    np.testing.assert_allclose(energy, 4 * jnp.sin(angle / 16) ** 2, rtol=1e-6)
    fade = result.problem.calculate_jerkiness(result.problem.pixelfade)
    assert jnp.max(result.problem.calculate_jerkiness(result.image)) < 1e-6 * jnp.max(fade)


def with_phases_shifted(image, shift):
    spectrum = np.fft.fft2(np.asarray(image)) * np.exp(1j * np.asarray(shift))
    return jnp.asarray(np.real(np.fft.ifft2(spectrum)))


def test_conditional_geodesic_of_amplitudes_has_linear_phases(ends, rng):
    shift = 0.8 * np.angle(np.fft.fft2(rng.normal(size=(8, 8))))
    # These frequencies have no phase.
    shift[::4, ::4] = 0
    first, last = ends[0], with_phases_shifted(ends[0], shift)
    result = converge(first, last, amplitudes, start="straight")
    fade = result.problem.energy(result.problem.pixelfade)
    assert result.problem.energy(result.image) < 1e-6 * fade
    conditional = condition(result, energy_bound=1e-4 * fade)
    wanted = jnp.stack([with_phases_shifted(first, shift * t) for t in np.linspace(0, 1, 9)])
    np.testing.assert_allclose(conditional.image, wanted, atol=3e-3)
    _, away = plx.process.deviation_from_line(wanted)
    assert float(jnp.max(away)) > 0.2


def test_conditional_geodesic_of_amplitudes_is_the_translation_of_a_smooth_image(x64):
    # By one pixel, a quarter of a cycle of the highest frequency here.
    moved = jnp.linspace(0, 1, 9)[:, None, None, None]
    x = 2 * jnp.pi / 8 * (jnp.arange(8.0, dtype=jnp.float64)[None, None, None] - moved)
    y = 2 * jnp.pi / 8 * jnp.arange(8.0, dtype=jnp.float64)[None, None, :, None]
    translation = 0.5 + 0.2 * jnp.sin(x + y) + 0.1 * jnp.cos(2 * x) + 0.1 * jnp.sin(x - y)
    result = converge(translation[0], translation[-1], amplitudes, start="bridge")
    fade = result.problem.energy(result.problem.pixelfade)
    conditional = condition(result, energy_bound=1e-4 * fade)
    np.testing.assert_allclose(conditional.image, translation, atol=1e-3)
    assert float(jnp.max(jnp.abs(result.image - translation))) > 0.02


def test_the_bound_holds_and_costs_pixels(ends):
    result = converge(*ends, amplitudes, start="bridge")
    lengths = []
    for tolerance in (0.01, 0.1):
        conditional = condition(result, tolerance)
        problem, terms = conditional.problem, conditional.trace.terms
        energy = problem.geodesic.energy(conditional.image)
        np.testing.assert_allclose(energy, problem.energy_bound, rtol=1e-3)
        assert terms["excess"][-1] < 1e-3
        lengths.append(problem.pixel_energy(conditional.image))
        np.testing.assert_allclose(terms["pixel_energy"][-1], lengths[-1], rtol=1e-9)
    fade = problem.pixel_energy(problem.geodesic.pixelfade)
    assert problem.pixel_energy(result.image) > lengths[0] > lengths[1] > fade


def test_preconditioned_descent_solves_the_identity_in_one_step(ends):
    problem = plx.Geodesic(*ends, lambda image: image, 8, penalty_lambda=0.0)
    solver = plx.Solver(plx.precondition_path(optax.sgd(8 / 2)))
    start = plx.process.sample_brownian_bridge(*ends, 8, key=jax.random.key(0))
    state = plx.init(problem, solver, initial_image=start)
    state, _ = plx.step(problem, solver, state)
    np.testing.assert_allclose(problem.decode(state.z), problem.pixelfade, atol=1e-12)


def test_several_starts_and_pairs(ends, getkey):
    descent = plx.precondition_path(optax.sgd(8 / 2))
    options = {"n_steps": 8, "optimizer": descent, "max_steps": 20, "progress": False}
    several = plx.geodesic(
        *ends, amplitudes, initial_sequence="bridge", key=getkey(), num_seeds=2, **options
    )
    energies = [float(one.problem.energy(one.image)) for one in (several[0], several[1])]
    least = jnp.sum((several[0].problem.ends[1] - several[0].problem.ends[0]) ** 2) / 64
    assert energies[0] != energies[1]
    assert all(least < energy < 1.1 * least for energy in energies)
    first = jnp.stack(ends)
    pairs = plx.geodesic(first, first[::-1], amplitudes, batch=True, **options)
    np.testing.assert_array_equal(pairs[1].image[0], ends[1])
    np.testing.assert_allclose(pairs[0].image, pairs[1].image[::-1], atol=1e-6)
    check_conditional_batch(pairs)
    with pytest.raises(TypeError, match=r"must be that of one geodesic, .* batch=True, or one"):
        plx.conditional_geodesic(pairs)
    with pytest.raises(TypeError, match=r"must be that of a batch, .* Give batch=False\."):
        plx.conditional_geodesic(pairs[0], batch=True)
    with pytest.raises(ValueError, match="one for each of 2 elements, got an array of shape .3,"):
        plx.conditional_geodesic(pairs, energy_bound=jnp.ones(3), batch=True)


def check_conditional_batch(pairs):
    """The conditional geodesics of a batch, in slices too, are those of its elements."""
    named = {"max_steps": 20, "progress": False}
    solver = plx.Solver(FAST, stop=plx.stop.Never())
    together = plx.conditional_geodesic(pairs, 0.05, batch=True, solver=solver, **named)
    sliced = plx.conditional_geodesic(pairs, 0.05, batch=True, batch_size=1, solver=solver, **named)
    np.testing.assert_array_equal(sliced.image, together.image)
    for pair, one, path in zip(pairs.elements, together.elements, pairs.image, strict=True):
        alone = plx.conditional_geodesic(pair, 0.05, solver=solver, **named)
        np.testing.assert_allclose(one.problem.energy_bound, 1.05 * pair.problem.energy(path))
        np.testing.assert_allclose(one.image, alone.image, atol=1e-9)
        assert float(jnp.max(jnp.abs(one.image - path))) > 1e-4


def test_respacing_makes_steps_equal(ends, blind):
    time = jnp.linspace(0, 1, 9)[:, None, None, None] ** 3
    uneven = (1 - time) * ends[0][None] + time * ends[1][None]
    problem = plx.Geodesic(*ends, blind, 8)
    assert jnp.std(problem.step_energy(uneven)) > jnp.mean(problem.step_energy(uneven))
    np.testing.assert_allclose(problem.respace(uneven), problem.pixelfade, atol=1e-12)
    assert problem.respace(uneven, 20).shape == (21, 1, 8, 8)
    same = jnp.stack([ends[0]] * 3)
    np.testing.assert_array_equal(problem.respace(same), same)


def test_respacing_makes_steps_equal_along_a_curve(ends):
    # Without their mean the two images are far apart on the sphere.
    first, last = ends[0] - 0.5, ends[1] - 0.5
    problem = plx.Geodesic(first, last, project_to_sphere, 8, penalty_lambda=0.0)
    time = jnp.linspace(0, 1, 9)[:, None, None, None] ** 3
    path, spread = (1 - time) * first[None] + time * last[None], []
    for _ in range(4):
        energy = problem.step_energy(path)
        spread.append(jnp.ptp(energy) / jnp.mean(energy))
        path = problem.respace(path)
    assert spread[0] > 1
    assert spread[1] > 0.1
    assert spread[3] < 0.02


def test_representations_may_be_trees_and_complex(ends):
    def tree(image):
        return {"spectrum": jnp.fft.fft2(image, norm="ortho"), "pixels": 2 * image}

    problem = plx.Geodesic(*ends, tree, 4)
    np.testing.assert_allclose(
        problem.step_energy(problem.pixelfade),
        5 * jnp.sum((problem.pixelfade[1:] - problem.pixelfade[:-1]) ** 2, (1, 2, 3)),
        rtol=1e-12,
    )


def test_equal_ends_and_flat_images_are_finite(x64):
    flat = jnp.full((1, 8, 8), 0.5)
    problem = plx.Geodesic(flat, flat, amplitudes, 4)
    (value, terms), gradient = jax.value_and_grad(problem.objective, has_aux=True)(
        problem.encode(problem.pixelfade), None
    )
    for leaf in jax.tree.leaves((value, terms, gradient)):
        assert bool(jnp.all(jnp.isfinite(leaf)))
    np.testing.assert_array_equal(problem.calculate_jerkiness(problem.pixelfade), 0)
    conditional = plx.ConditionalGeodesic(problem, 1.0)
    value, _ = conditional.objective(problem.encode(problem.pixelfade), conditional.start())
    assert bool(jnp.isfinite(value))


def test_wrong_arguments_are_refused(ends, blind, unchecked):
    first, last = ends
    with pytest.raises(ValueError, match="same shape"):
        plx.Geodesic(first, last[:, :4], blind)
    with pytest.raises(ValueError, match="same shape"):
        plx.geodesic(first, last.astype(jnp.float32), blind)
    with pytest.raises(ValueError, match="at least 2"):
        plx.Geodesic(first, last, blind, n_steps=1)
    with pytest.raises(ValueError, match="'straight' or 'bridge'"):
        plx.Geodesic(first, last, blind, 5, "curved")
    with pytest.raises(TypeError):
        plx.Geodesic(first, last, "model")
    problem = plx.Geodesic(first, last, blind)
    with pytest.raises(ValueError, match="energy_bound must be a finite number above 0"):
        plx.ConditionalGeodesic(problem, 0.0)
    with pytest.raises(ValueError, match="num_stages"):
        plx.ConditionalGeodesic(problem, 1.0, num_stages=0)
    with pytest.raises(ValueError, match="key="):
        plx.geodesic(first, last, blind, 5, "bridge", progress=False)
    solver = plx.Solver(FAST)
    with pytest.raises(ValueError, match="got both"):
        plx.geodesic(first, last, blind, optimizer=FAST, solver=solver, progress=False)
