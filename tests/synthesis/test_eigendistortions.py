import functools
import pathlib
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

import plenoptax as plx

from ..reference.make_eigendistortions import decompose, make_image, NAMES, NUM_KEPT
from .eigen import crop, is_status


REFERENCE = pathlib.Path(__file__).parents[1] / "reference" / "eigendistortions.npz"


@pytest.fixture(scope="module")
def linear():
    """The linear model of plenoptic's tutorial: from 25 pixels to 10 responses."""
    return jnp.asarray(np.random.default_rng(0).normal(size=(10, 25)), jnp.float32)


@pytest.mark.parametrize("method", ["auto", "exact", "power", "block_lanczos", "randomized_svd"])
def test_eigendistortions_of_a_linear_model(linear, method):
    found = plx.eigendistortions(
        jnp.ones((1, 5, 5)),
        lambda x: linear @ x.ravel(),
        method=method,
        p=15,
        progress=False,
    )
    left, singular, right = np.linalg.svd(np.asarray(linear, np.float64))
    np.testing.assert_allclose(found.eigenvalues[0], singular[0] ** 2, rtol=1e-4)
    first = np.asarray(found.eigendistortions[0]).ravel()
    assert abs(first @ right[0]) == pytest.approx(1, abs=1e-3)
    if method == "exact":
        assert found.eigendistortions.shape == (25, 1, 5, 5)
        np.testing.assert_allclose(found.jacobian, linear, rtol=1e-6)
    else:
        assert found.jacobian is None
    if method != "randomized_svd":
        assert found.null_dimension == 15
        # The last vector lies in the null space, of which a basis is arbitrary.
        last = np.asarray(found.eigendistortions[-1]).ravel()
        assert np.linalg.norm(right[10:] @ last) == pytest.approx(1, abs=1e-3)
        assert found.eigenindex.tolist()[0::24] in ([0], [0, 24])
    if method in ("auto", "exact", "block_lanczos"):
        assert is_status(found.status["bottom"], "null_space")


@functools.cache
def model_of(name, size):
    if name == "PortillaSimoncelli":
        return plx.models.PortillaSimoncelli((size, size), n_scales=2)
    if name in ("Gaussian", "CenterSurround"):
        return getattr(plx.models, name)(31)
    return getattr(plx.models, name)(31, pretrained=True)


def compare(name, values, vectors, tolerance):
    """plenoptic's pairs are ours: all values, the kept vectors, and the subspaces they span.

    Returns how many subspaces are far enough from the others to be compared.
    """
    size = vectors.shape[-1]
    image = jnp.asarray(make_image(size))
    operator = plx.linalg.linearize(model_of(name, size), image)
    found, jacobian = plx.linalg.exact(operator)
    count, scale = min(len(values), len(found.values)), values[0]
    np.testing.assert_allclose(found.values[:count], values[:count], atol=tolerance * scale)
    flat, kept = vectors.reshape(len(vectors), -1), np.r_[:NUM_KEPT, -NUM_KEPT:0]
    residuals = np.asarray(flat @ jacobian.T @ jacobian) - values[kept][:, None] * flat
    assert np.linalg.norm(residuals, axis=1).max() <= tolerance * scale
    ours, num_compared = np.asarray(found.vectors), 0
    for i in range(1, NUM_KEPT + 1):
        for part, gap in (
            (slice(0, i), values[i - 1] - values[i]),
            (slice(-i, None), values[-i - 1] - values[-i]),
        ):
            # The sine of the largest angle is the error over the gap (Davis and Kahan).
            if gap > 100 * tolerance * scale:
                overlap = np.linalg.svd(ours[part] @ flat[part].T, compute_uv=False)
                assert overlap.min() > 1 - (4 * tolerance * scale / gap) ** 2 - 1e-12
                num_compared += 1
    return num_compared


@pytest.mark.parametrize("name", [*NAMES, "PortillaSimoncelli"])
def test_spectra_and_subspaces_are_those_of_plenoptic(x64, name):
    arrays = np.load(REFERENCE)
    tolerance = 2e-5 if name == "PortillaSimoncelli" else 1e-8
    values, vectors = arrays[f"{name}_values"], arrays[f"{name}_vectors"]
    assert compare(name, values, vectors, tolerance) >= 2


@pytest.mark.parity
def test_spectra_and_subspaces_are_those_of_plenoptic_live(x64):
    pytest.importorskip("plenoptic")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        decomposed = decompose("OnOff", 20)
    assert compare("OnOff", *decomposed, 1e-8) >= 2


@pytest.mark.parity
def test_luminance_gain_control_responds_to_its_eigendistortion_as_printed():
    po = pytest.importorskip("plenoptic")
    image = jnp.asarray(po.data.einstein().numpy()[0], jnp.float32)
    model = plx.models.LuminanceGainControl(31, pad_mode="circular", pretrained=True)
    found = plx.eigendistortions(image, model, which="top", rtol=1e-6, progress=False)
    change = found.eigendistortions[0]
    shifted = jnp.roll(change, 128, axis=-1)
    response = model(image)
    for direction, printed in ((change, 0.08443847298622131), (shifted, 0.03719748184084892)):
        # A step of length 1 of either sign, for eigenvectors have none.
        steps = [float(jnp.linalg.norm(model(image + s * direction) - response)) for s in (-1, 1)]
        assert min(abs(step - printed) for step in steps) < 1e-3 * printed
    assert np.sqrt(found.eigenvalues[0]) == pytest.approx(0.08443847298622131, rel=1e-3)


def test_the_gain_of_center_surround_is_its_largest_frequency(x64):
    # For 256 pixels it is 0.644737, where the printed power estimate is 0.6445791.
    model = plx.models.CenterSurround(31, center_std=1.962, surround_std=4.235, pad_mode="circular")
    gains = {}
    for size in (32, 256):
        impulse = jnp.zeros((1, size, size)).at[0, 0, 0].set(1)
        gains[size] = np.abs(np.fft.fft2(model(impulse))).max()
    assert gains[256] == pytest.approx(0.644737, abs=1e-6)
    image = jnp.ones((1, 32, 32))
    found = plx.eigendistortions(
        image, model, which="top", method="block_lanczos", rtol=1e-6, progress=False
    )
    response = np.sqrt(found.eigenvalues[0])
    assert response == pytest.approx(gains[32], abs=1e-6)
    shifted = jnp.roll(found.eigendistortions[0], 16, axis=-1)
    assert float(jnp.linalg.norm(model(shifted))) == pytest.approx(response, rel=1e-6)


def test_block_lanczos_agrees_with_dense_at_both_ends():
    image, model = crop(32), model_of("LuminanceContrastGainControl", 32)
    dense = plx.eigendistortions(image, model, k=2, progress=False)
    found = plx.eigendistortions(image, model, k=2, method="block_lanczos", progress=False)
    np.testing.assert_allclose(found.eigenvalues[:2], dense.eigenvalues[:2], rtol=1e-4)
    assert found.residuals[:2].max() <= 1e-4
    visible = dense.eigenvalues > found.floor
    np.testing.assert_allclose(found.eigenvalues[visible], dense.eigenvalues[visible], rtol=0.05)
    assert np.all(found.eigenvalues[~visible] <= found.floor)
    again = jax.vmap(model)(image[None] + 1e-2 * found.eigendistortions)
    change = jnp.linalg.norm((again - model(image)[None]).reshape(4, -1), axis=1) / 1e-2
    np.testing.assert_allclose(change[:2] ** 2, found.eigenvalues[:2], rtol=0.05)


@pytest.mark.parametrize("name", ["LuminanceGainControl", "OnOff"])
def test_five_of_the_bottom_orthogonal_to_the_image_agree_with_dense(name):
    image, model = crop(32), model_of(name, 32)
    subspace = plx.linalg.complement(jnp.ones_like(image), image)
    dense, found = (
        plx.eigendistortions(image, model, k=5, subspace=subspace, method=method, progress=False)
        for method in ("exact", "block_lanczos")
    )
    bottom = dense.eigenvalues[-5:]
    visible = bottom > found.floor
    np.testing.assert_allclose(found.eigenvalues[-5:][visible], bottom[visible], rtol=0.05)
    assert np.all(found.eigenvalues[-5:][~visible] <= found.floor)
    kept = np.asarray(found.eigendistortions[-5:]).reshape(5, -1)
    forbidden = np.stack([np.ones(kept.shape[1]), np.asarray(image).ravel()])
    np.testing.assert_allclose(kept @ kept.T, np.eye(5), atol=1e-4)
    np.testing.assert_allclose(kept @ forbidden.T, 0, atol=1e-3)


def test_contrast_gain_control_ignores_contrast_with_a_shift_of_the_mean(x64):
    # softplus(u(x) / ...) with u = CS x / (1 + s G x): x + 1 / s scales both sides of u alike.
    image, model = crop(16, jnp.float64), model_of("LuminanceContrastGainControl", 16)
    found = plx.eigendistortions(image, model, which="bottom", progress=False)
    assert is_status(found.status["bottom"], "null_space")
    assert found.null_dimension == 1
    ignored = image + 1 / model.luminance_scalar.astype(image.dtype)[:, None, None]
    cosine = jnp.sum(ignored * found.eigendistortions[0]) / jnp.linalg.norm(ignored)
    assert abs(float(cosine)) == pytest.approx(1, abs=1e-5)
    subspace = plx.linalg.complement(jnp.ones_like(image), image)
    rest = plx.eigendistortions(image, model, which="bottom", subspace=subspace, progress=False)
    assert is_status(rest.status["bottom"], "converged")
    assert abs(float(jnp.sum(rest.eigendistortions[0] * image))) < 1e-10
    assert abs(float(jnp.sum(rest.eigendistortions[0]))) < 1e-10


def test_subspaces_are_restrictions_of_the_dense_information(x64):
    image, model = crop(8, jnp.float64), model_of("OnOff", 8)
    information = np.asarray(plx.linalg.fisher_matrix(model, image))
    selected = np.zeros(image.shape, bool)
    selected[:, 2:6, 1:7] = True
    weights = np.where(selected, np.linspace(0.1, 1, 64).reshape(image.shape), 0)
    inside = selected.ravel()
    for subspace, full in (
        (plx.linalg.mask(selected), information[np.ix_(inside, inside)]),
        (
            plx.linalg.window(weights),
            (weights.ravel()[:, None] * information * weights.ravel())[np.ix_(inside, inside)],
        ),
    ):
        found = plx.eigendistortions(image, model, subspace=subspace, progress=False)
        wanted = np.linalg.eigvalsh(full)
        np.testing.assert_allclose(found.eigenvalues, wanted[[-1, 0]], rtol=1e-6)
        assert np.all(np.asarray(found.eigendistortions)[:, ~selected] == 0)
    iterated = plx.eigendistortions(
        image, model, subspace=subspace, method="block_lanczos", progress=False
    )
    np.testing.assert_allclose(iterated.eigenvalues, found.eigenvalues, rtol=0.05)


def test_batch_is_its_images_and_shares_its_program():
    images = jnp.stack([crop(16), crop(16)[:, ::-1] ** 2])
    found = plx.eigendistortions(images, model_of("OnOff", 16), batch=True, progress=False)
    for image, one in zip(images, found, strict=True):
        dense = np.linalg.eigvalsh(plx.linalg.fisher_matrix(model_of("OnOff", 16), image))
        np.testing.assert_allclose(one.eigenvalues[0], dense[-1], rtol=1e-4)


def test_resuming_is_the_same_as_not_stopping():
    image, model = crop(32), model_of("LuminanceContrastGainControl", 32)
    options = dict(k=2, method="block_lanczos", progress=False)
    whole = plx.eigendistortions(image, model, max_products=60, **options)
    half = plx.eigendistortions(image, model, max_products=24, **options)
    assert half.num_products < whole.num_products
    resumed = plx.eigendistortions(image, model, max_products=60, resume=half, **options)
    np.testing.assert_array_equal(resumed.eigendistortions, whole.eigendistortions)
    assert resumed.num_products == whole.num_products
    with pytest.raises(ValueError, match="another search"):
        plx.eigendistortions(image, model, resume=half, **{**options, "k": 1})
    with pytest.raises(ValueError, match="must be a PowerState"):
        plx.eigendistortions(image, model, method="power", resume=half, progress=False)


def test_a_large_null_space_is_recognized_in_few_products():
    # Its filters remove high frequencies: the values there are many, and close above 0.
    image, model = crop(32), model_of("LuminanceGainControl", 32)
    found = plx.eigendistortions(
        image, model, k=3, which="bottom", method="block_lanczos", progress=False
    )
    assert is_status(found.status["bottom"], "null_space")
    assert np.all(found.eigenvalues[-3:] <= found.floor)
    assert found.null_dimension >= 3
    assert found.num_products <= 60


def test_wrong_arguments_are_refused(unchecked):
    image, model = crop(16), plx.models.Gaussian(7)
    with pytest.raises(ValueError, match="method"):
        plx.eigendistortions(image, model, method="lanczos")
    with pytest.raises(ValueError, match="which must be 'top' or 'both'"):
        plx.eigendistortions(image, model, method="randomized_svd", which="bottom")
    with pytest.raises(ValueError, match=r"max_products must be None .*'power'.* Give max_iter"):
        plx.eigendistortions(image, model, method="power", max_products=40)
    with pytest.raises(ValueError, match="stochastic"):
        plx.eigendistortions(image, lambda x: x * np.random.default_rng().uniform())
    with pytest.raises(ValueError, match="not a number"):
        plx.eigendistortions(image.at[0, 0, 0].set(jnp.nan), model)
    with pytest.raises(TypeError, match="floating"):
        plx.eigendistortions(jnp.ones((1, 8, 8), jnp.int32), model)


def test_equal_detectability_is_checked_on_the_model():
    image, model = crop(16), model_of("OnOff", 16)
    found = plx.eigendistortions(image, model, k=2, progress=False)
    small = plx.equal_detectability(found, model, 5e-4)
    assert small.is_linear.all()
    assert not small.is_bound.any()
    np.testing.assert_allclose(small.alpha, 5e-4 / np.sqrt(found.eigenvalues))
    large = plx.equal_detectability(found, lambda x: jnp.tanh(model(x)) ** 3, 5.0)
    assert not large.is_linear.any()
    blind = plx.eigendistortions(image, lambda x: x[:, :8], progress=False)
    assert plx.equal_detectability(blind, lambda x: x[:, :8]).is_bound.tolist() == [False, True]


def test_generalized_eigendistortions_are_scipys(x64):
    image = crop(16, jnp.float64)
    models = model_of("LinearNonlinear", 16), model_of("OnOff", 16)
    first, second = (np.asarray(plx.linalg.fisher_matrix(m, image)) for m in models)
    for ridge in (1e-2, 1e-4):
        delta = ridge * np.linalg.eigvalsh(second)[-1]
        wanted = scipy.linalg.eigh(first, second + delta * np.eye(256), eigvals_only=True)
        found = plx.generalized_eigendistortions(image, *models, k=2, ridge=ridge)
        ratios, changes = found.ratios, found.eigendistortions
        np.testing.assert_allclose(ratios, wanted[[-1, -2, 1, 0]], rtol=1e-6, atol=1e-12)
        flat = np.asarray(changes).reshape(4, -1)
        top = flat[0] @ first @ flat[0] / (flat[0] @ second @ flat[0] + delta)
        assert top == pytest.approx(ratios[0], rel=1e-6)


def test_principal_distortions_beat_a_thousand_random_pairs(rng):
    image = crop(16)
    models = [model_of(name, 16) for name in ("LinearNonlinear", "LuminanceGainControl", "OnOff")]
    found = plx.principal_distortions(image, models, key=jax.random.key(0), max_steps=100)
    pair, ratios = found.distortions, found.log_ratios
    np.testing.assert_allclose(jnp.linalg.norm(pair.reshape(2, -1), axis=1), 1, rtol=1e-5)
    informations = [np.asarray(plx.linalg.fisher_matrix(m, image), np.float64) for m in models]
    noise = rng.normal(size=(2000, 256))
    logs = np.stack(
        [
            np.log(
                np.einsum("ki,ij,kj->k", noise, f, noise) / np.sum(noise**2, axis=1)
                + 1e-3 * np.trace(f) / 256
            )
            for f in informations
        ]
    )
    random = np.var(logs[:, :1000] - logs[:, 1000:], axis=0)
    assert np.var(ratios) > random.max()
