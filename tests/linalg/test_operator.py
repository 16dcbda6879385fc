import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import plenoptax as plx


@pytest.fixture(scope="module")
def image():
    return jnp.asarray(np.random.default_rng(5).uniform(0.2, 0.8, (1, 16, 16)), jnp.float32)


MODELS = {
    "Identity": lambda: plx.models.Identity(),
    "Linear": lambda: plx.models.Linear(),
    "Gaussian": lambda: plx.models.Gaussian(7),
    "CenterSurround": lambda: plx.models.CenterSurround(7),
    "LinearNonlinear": lambda: plx.models.LinearNonlinear(31, pretrained=True),
    "LuminanceGainControl": lambda: plx.models.LuminanceGainControl(31, pretrained=True),
    "LuminanceContrastGainControl": lambda: plx.models.LuminanceContrastGainControl(
        31, pretrained=True
    ),
    "OnOff": lambda: plx.models.OnOff(31, pretrained=True),
    "PortillaSimoncelli": lambda: plx.models.PortillaSimoncelli((16, 16), n_scales=1),
    "NLP": lambda: plx.metric.NLP(),
}


@pytest.mark.parametrize("name", MODELS)
def test_linear_map_transpose_is_adjoint_and_fisher_symmetric(image, name, getkey):
    operator = plx.linalg.linearize(MODELS[name](), image)
    v = jax.random.normal(getkey(), (2, operator.input_size))
    u = jax.random.normal(getkey(), (2, operator.output_size))
    products, back = operator(v), operator.transpose(u)
    scale = float(jnp.linalg.norm(products) * jnp.linalg.norm(u))
    np.testing.assert_allclose(products @ u.T, v @ back.T, atol=1e-5 * scale)
    metric = np.asarray(v @ operator.fisher(v).T)
    assert abs(metric[0, 1] - metric[1, 0]) < 1e-5 * metric.max()
    np.testing.assert_allclose(np.diag(metric), np.sum(np.asarray(products) ** 2, 1), rtol=1e-4)


def test_linear_map_is_the_derivative(image):
    model = MODELS["LuminanceContrastGainControl"]()
    operator = plx.linalg.linearize(model, image)
    step = jnp.ones_like(image).at[0, 3, 5].set(-2)
    _, tangent = jax.jvp(model, (image,), (step,))
    np.testing.assert_allclose(operator(step.reshape(1, -1))[0], tangent.ravel(), atol=1e-6)


@pytest.mark.parametrize("sides", [(5, 9), (9, 5), (130, 70)])
def test_dense_and_jacobian_are_the_matrix(rng, sides):
    matrix = jnp.asarray(rng.normal(size=sides), jnp.float32)
    x = jnp.ones(sides[1])
    np.testing.assert_allclose(plx.linalg.jacobian(lambda v: matrix @ v, x), matrix, rtol=1e-6)
    found = plx.linalg.fisher_matrix(lambda v: matrix @ v, x)
    np.testing.assert_allclose(found, matrix.T @ matrix, rtol=1e-4, atol=1e-4)


def test_linearize_takes_trees_and_complex_responses(rng):
    real, imaginary = rng.normal(size=(2, 4, 3))
    matrix = jnp.asarray(real + 1j * imaginary, jnp.complex64)
    other = jnp.asarray(rng.normal(size=(2, 3)), jnp.float32)

    def model(x):
        return {"a": matrix @ x.astype(jnp.complex64), "b": other @ x}

    wanted = np.concatenate([real, imaginary, np.asarray(other)])
    np.testing.assert_allclose(plx.linalg.jacobian(model, jnp.ones(3)), wanted, rtol=1e-5)


def test_transpose_is_the_transposed_matrix(rng, x64):
    real, imaginary = rng.normal(size=(2, 4, 3))
    operator = plx.linalg.linearize(
        lambda x: (real + 1j * imaginary) @ x.astype(complex), jnp.ones(3)
    )
    transpose = operator.T
    assert (transpose.input_size, transpose.output_size) == (8, 3)
    u = jnp.asarray(rng.normal(size=(5, 8)))
    matrix = np.concatenate([real, imaginary])
    np.testing.assert_allclose(transpose.dense(), matrix.T, rtol=1e-14)
    np.testing.assert_allclose(transpose(u), u @ matrix, rtol=1e-13, atol=1e-14)
    np.testing.assert_array_equal(operator.transpose(u), transpose(u))
    np.testing.assert_allclose(transpose.T.dense(), matrix, rtol=1e-14)


def test_composition_is_the_product_of_matrices(rng, x64):
    a, b, c = rng.normal(size=(4, 3)), rng.normal(size=(3, 6)), rng.normal(size=(6, 2))
    first, second, third = (
        plx.linalg.linearize(lambda x, matrix=matrix: matrix @ x, jnp.ones(matrix.shape[1]))
        for matrix in (a, b, c)
    )
    kwargs = {"rtol": 1e-12, "atol": 1e-13}
    for chain in ((first @ second) @ third, first @ (second @ third)):
        assert (chain.input_size, chain.output_size) == (2, 4)
        np.testing.assert_allclose(chain.dense(), a @ b @ c, **kwargs)
        np.testing.assert_allclose(chain.T.dense(), (a @ b @ c).T, **kwargs)
        np.testing.assert_array_equal(chain.response, first.response)
    v = jnp.asarray(rng.normal(size=(5, 3)))
    np.testing.assert_allclose((first.T @ first)(v), first.fisher(v), **kwargs)
    with pytest.raises(ValueError, match=r"must give 3 values, got the shape \(6,\)"):
        first @ third


def test_linear_maps_are_parts_of_other_programs(rng, x64):
    matrix = rng.normal(size=(4, 3))
    operator = plx.linalg.linearize(lambda x: matrix @ x, jnp.ones(3))
    v, kwargs = jnp.asarray(rng.normal(size=(2, 3))), {"rtol": 1e-12}
    wanted = v @ matrix.T @ matrix
    np.testing.assert_allclose(jax.jit(lambda v: operator.fisher(v))(v), wanted, **kwargs)
    np.testing.assert_allclose(jax.vmap(lambda v: operator.fisher(v))(v[None])[0], wanted, **kwargs)
    # Constants of another program are traced there, though nothing that is given is.
    np.testing.assert_allclose(jax.jit(lambda: operator.fisher(v))(), wanted, **kwargs)
    slope = jax.grad(lambda v: 0.5 * jnp.sum(operator(v) ** 2))(v)
    np.testing.assert_allclose(slope, wanted, **kwargs)
    weighted = eqx.filter_grad(lambda operator: jnp.sum(operator(v)))(operator)
    assert sum(leaf.size for leaf in jax.tree.leaves(weighted)) >= matrix.size
    found = eqx.filter_jit(lambda operator: operator.T(operator(v)))(operator)
    np.testing.assert_allclose(found, wanted, **kwargs)


def test_products_are_compiled_once_for_all_maps_of_a_kind(rng):
    traces = []

    def count(vector):
        traces.append(vector)
        return vector

    class Scale(eqx.Module):
        factor: jax.Array

        def __call__(self, vector):
            return count(self.factor * vector)

    def use(factor):
        scale = plx.linalg.LinearMap(Scale(factor), 4, 4, factor.dtype)
        restricted = scale @ plx.linalg.mask(np.asarray([True, False, True, True]))
        products = restricted(jnp.eye(3)), restricted.T(jnp.eye(4)), restricted.fisher(jnp.eye(3))
        np.testing.assert_allclose(products[0].T, products[1], rtol=1e-6)
        np.testing.assert_allclose(products[0][0], np.eye(4)[0] * np.asarray(factor), rtol=1e-6)

    factors = [jnp.asarray(rng.uniform(1, 2, 4), jnp.float32) for _ in range(3)]
    use(factors[0])
    seen = len(traces)
    for factor in factors[1:]:
        use(factor)
    assert len(traces) == seen


def test_linearize_traces_once_for_all_images(image):
    count = 0

    def model(x):
        nonlocal count
        count += 1
        return jnp.tanh(x)

    for factor in (1, 2, 3):
        plx.linalg.linearize(model, image * factor).fisher(jnp.ones((1, image.size)))
    assert count <= 2


def test_gaussian_noise_is_the_inverse_covariance(rng, x64):
    matrix, x = jnp.asarray(rng.normal(size=(4, 3))), jnp.ones(3)
    root = rng.normal(size=(4, 4))
    for covariance in (2.5, np.arange(1.0, 5.0), root @ root.T + np.eye(4)):
        full = covariance if np.ndim(covariance) == 2 else np.diag(np.broadcast_to(covariance, 4))
        found = plx.linalg.fisher_matrix(
            lambda v: matrix @ v, x, noise=plx.linalg.GaussianNoise(jnp.asarray(covariance))
        )
        np.testing.assert_allclose(found, matrix.T @ np.linalg.inv(full) @ matrix, rtol=1e-10)


@pytest.mark.parametrize("is_full", [False, True])
def test_gaussian_noise_of_changing_covariance_has_the_trace_term(rng, x64, is_full):
    matrix, x = jnp.asarray(rng.uniform(0.5, 1, size=(3, 2))), jnp.ones(2)
    mixing = jnp.asarray(rng.normal(size=(3, 3)))

    def covariance(response):
        if not is_full:
            return response**2
        return mixing @ jnp.diag(response) @ mixing.T + jnp.eye(3)

    noise = plx.linalg.GaussianNoise(covariance)
    found = plx.linalg.fisher_matrix(lambda v: matrix @ v, x, noise=noise)

    def full(v):
        value = covariance(matrix @ v)
        return value if is_full else jnp.diag(value)

    inverse, slopes = np.linalg.inv(full(x)), np.asarray(jax.jacfwd(full)(x))
    trace = np.einsum("ab,bci,cd,daj->ij", inverse, slopes, inverse, slopes)
    mean = matrix.T @ inverse @ matrix
    np.testing.assert_allclose(found, mean + trace / 2, rtol=1e-10)
    noise = plx.linalg.GaussianNoise(covariance, mean_term_only=True)
    found = plx.linalg.fisher_matrix(lambda v: matrix @ v, x, noise=noise)
    np.testing.assert_allclose(found, mean, rtol=1e-10)


def test_poisson_noise_is_the_square_root_transform(rng, x64):
    matrix, x, duration = jnp.asarray(rng.normal(size=(6, 4))), jnp.ones(4), 3.0
    found = plx.linalg.fisher_matrix(
        lambda v: jnp.exp(matrix @ v), x, noise=plx.linalg.PoissonNoise(duration)
    )
    roots = plx.linalg.jacobian(lambda v: jnp.exp(matrix @ v / 2), x)
    np.testing.assert_allclose(found, 4 * duration * roots.T @ roots, rtol=1e-10)
    rates = np.exp(np.asarray(matrix @ x))
    noise = plx.linalg.PoissonNoise(duration, dispersion=0.5)
    found = plx.linalg.fisher_matrix(lambda v: jnp.exp(matrix @ v), x, noise=noise)
    mean = duration * rates
    slopes = mean[:, None] * np.asarray(matrix)
    wanted = slopes.T @ np.diag(1 / (mean + 0.25 * mean**2)) @ slopes
    np.testing.assert_allclose(found, wanted, rtol=1e-10)


def test_metric_noise_is_the_pullback(rng, x64):
    matrix, x = jnp.asarray(rng.normal(size=(4, 3))), jnp.ones(3)
    root = jnp.asarray(rng.normal(size=(4, 2)))
    noise = plx.linalg.MetricNoise(lambda response: root @ root.T * response[0] ** 2)
    found = plx.linalg.fisher_matrix(lambda v: matrix @ v, x, noise=noise)
    wanted = matrix.T @ root @ root.T @ matrix * (matrix @ x)[0] ** 2
    np.testing.assert_allclose(found, wanted, rtol=1e-9)


def test_noise_that_does_not_fit_is_refused(unchecked):
    x = jnp.ones(3)
    with pytest.raises(ValueError, match="shape"):
        plx.linalg.fisher(lambda v: v, x, noise=plx.linalg.GaussianNoise(jnp.ones(2)))
    with pytest.raises(ValueError, match="must be positive"):
        plx.linalg.fisher(lambda v: v, x, noise=plx.linalg.GaussianNoise(jnp.diag(-x)))
    with pytest.raises(ValueError, match="rates"):
        plx.linalg.fisher(lambda v: v - 1, x, noise=plx.linalg.PoissonNoise())


def columns(subspace):
    return np.stack([np.asarray(subspace(e)).ravel() for e in jnp.eye(subspace.size)], axis=1)


def test_mask_window_and_complement_are_what_they_say(rng):
    selected = rng.uniform(size=(2, 3, 4)) > 0.5
    basis = columns(plx.linalg.mask(selected))
    np.testing.assert_array_equal(basis @ basis.T, np.diag(selected.ravel().astype(float)))
    weights = np.where(selected, 0.3, 0.0)
    basis = columns(plx.linalg.window(weights))
    np.testing.assert_allclose(np.diag(basis @ basis.T), weights.ravel() ** 2, rtol=1e-6)
    image = jnp.asarray(rng.uniform(size=(2, 3, 4)), jnp.float32)
    basis = columns(plx.linalg.complement(jnp.ones_like(image), image))
    assert basis.shape == (24, 22)
    np.testing.assert_allclose(basis.T @ basis, np.eye(22), atol=1e-5)
    np.testing.assert_allclose(np.asarray(image).ravel() @ basis, 0, atol=1e-5)
    np.testing.assert_allclose(basis.sum(axis=0), 0, atol=1e-5)


def test_a_map_is_restricted_to_a_subspace(rng, x64):
    matrix, x = rng.normal(size=(5, 24)), jnp.asarray(rng.uniform(size=(2, 3, 4)))
    operator = plx.linalg.linearize(lambda x: matrix @ x.ravel(), x)
    subspaces = [
        plx.linalg.mask(rng.uniform(size=(2, 3, 4)) > 0.5),
        plx.linalg.window(rng.uniform(size=(2, 3, 4))),
        plx.linalg.complement(jnp.ones_like(x), x),
        plx.linalg.Linear(lambda z: jnp.pad(z, (0, 20)), 4),
    ]
    for subspace in subspaces:
        wanted = matrix @ columns(subspace)
        restricted = operator @ subspace
        np.testing.assert_allclose(restricted.dense(), wanted, atol=1e-13)
        np.testing.assert_allclose(restricted.T.dense(), wanted.T, atol=1e-13)
        again = plx.linalg.linearize(lambda x: matrix @ x.ravel(), x, subspace=subspace)
        np.testing.assert_array_equal(again.dense(), restricted.dense())
    with pytest.raises(ValueError, match="Window.*24 values.*shape of the input"):
        operator @ plx.linalg.mask(np.ones((3, 4), bool))


def test_subspaces_that_are_empty_or_dependent_are_refused(unchecked):
    with pytest.raises(ValueError, match="nonzero element"):
        plx.linalg.mask(np.zeros((2, 2), bool))
    with pytest.raises(ValueError, match="dependent"):
        plx.linalg.complement(jnp.ones(4), 2 * jnp.ones(4))
    with pytest.raises(ValueError, match="or zero"):
        plx.linalg.complement(jnp.zeros(4))
    with pytest.raises(ValueError, match="shape"):
        plx.linalg.complement()
