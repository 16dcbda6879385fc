import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.test_util import check_grads

import plenoptax as plx
from plenoptax.parametrize import (
    AbstractParametrization,
    DecorrelatedColor,
    FixedSpectrum,
    Fourier,
    Masked,
    Pixels,
    Sigmoid,
)


ALL = [Pixels(), Pixels(bounds=(0.0, 1.0)), Sigmoid(), Sigmoid((-2.0, 3.0)), Fourier()]


@pytest.mark.parametrize("parametrization", ALL)
def test_decode_inverts_encode(parametrization, rng, x64):
    assert isinstance(parametrization, AbstractParametrization)
    for dtype in (jnp.float32, jnp.float64):
        image = jnp.asarray(rng.uniform(0.002, 0.998, (2, 9, 8)), dtype)
        decoded = parametrization.decode(parametrization.encode(image))
        assert decoded.dtype == dtype
        np.testing.assert_allclose(decoded, image, atol=20 * jnp.finfo(dtype).eps)


@pytest.mark.parametrize("parametrization", ALL)
def test_parametrization_maps_over_a_batch_under_jit(parametrization, rng):
    z = jnp.asarray(rng.standard_normal((3, 1, 4, 4)), jnp.float32)
    decoded = jax.jit(jax.vmap(parametrization.decode))(z)
    np.testing.assert_allclose(decoded, parametrization.decode(z), atol=1e-6)
    projected = jax.jit(jax.vmap(parametrization.project))(z)
    np.testing.assert_array_equal(projected, parametrization.project(z))


def test_pixels_are_what_they_are(rng):
    image = 3 * jnp.asarray(rng.standard_normal((1, 4, 4)), jnp.float32)
    assert jax.tree.leaves(Pixels()) == []
    for method in (Pixels().encode, Pixels().decode, Pixels().project):
        assert method(image) is image


def test_pixels_are_clipped_into_the_box(rng):
    parametrization = Pixels(bounds=(-0.5, 0.25))
    image = jnp.asarray(rng.standard_normal((1, 16, 16)), jnp.float32)
    for clipped in (parametrization.project(image), parametrization.encode(image)):
        np.testing.assert_array_equal(clipped, np.clip(image, -0.5, 0.25))
    np.testing.assert_array_equal(parametrization.decode(image), image)


def test_pixels_may_have_a_box_each_that_is_no_reason_to_retrace(rng):
    count = eqx.debug.assert_max_traces(lambda p, z: p.project(z), max_traces=1)
    project = eqx.filter_jit(count)
    center = jnp.asarray(rng.random((1, 5, 5)), jnp.float32)
    for radius in (0.1, 0.2):
        box = Pixels(bounds=(center - radius, center + radius))
        moved = project(box, center + 1)
        np.testing.assert_allclose(moved, center + radius, rtol=1e-6)


@pytest.mark.parametrize("bounds", [(0.0, 1.0), (-5.0, 1.0), (-1.0, 0.0), (100.0, 100.5)])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_sigmoid_stays_strictly_inside_for_any_variable(bounds, dtype, x64):
    extremes = [-jnp.inf, -1e30, -200.0, -30.0, 0.0, 30.0, 200.0, 1e30, jnp.inf]
    z = jnp.array(extremes, dtype)
    image, gradient = jax.vmap(jax.value_and_grad(Sigmoid(bounds).decode))(z)
    assert image.dtype == dtype
    assert np.all(image > bounds[0])
    assert np.all(image < bounds[1])
    assert np.all(np.diff(image) >= 0)
    assert np.all(np.isfinite(gradient))


def test_sigmoid_starts_images_at_the_bounds_less_than_half_a_gray_level_inside():
    image = jnp.array([[[0.0, 1.0, -3.0, 7.0, 1 / 255]]])
    parametrization = Sigmoid()
    z = parametrization.encode(image)
    np.testing.assert_allclose(z[0, 0, :4], np.log(999) * np.array([-1, 1, -1, 1]), rtol=1e-4)
    decoded = parametrization.decode(z)
    np.testing.assert_array_equal(np.round(decoded * 255)[0, 0], [0, 255, 0, 255, 1])
    slope = jax.vmap(jax.grad(parametrization.decode))(z.ravel())
    assert np.all(slope > 9e-4)


def test_sigmoid_margin_is_a_part_of_the_range():
    parametrization = Sigmoid((-10.0, 10.0), margin=0.1)
    decoded = parametrization.decode(parametrization.encode(jnp.array([-10.0, 0.0, 50.0])))
    np.testing.assert_allclose(decoded, [-8, 0, 8], atol=1e-5)


def test_sigmoid_bounds_may_differ_between_channels(rng):
    low = jnp.array([0.0, -1.0]).reshape(2, 1, 1)
    parametrization = Sigmoid((low, low + 0.5))
    image = low + jnp.asarray(rng.uniform(0.01, 0.49, (2, 3, 3)), jnp.float32)
    decoded = parametrization.decode(parametrization.encode(image))
    np.testing.assert_allclose(decoded, image, atol=1e-6)


def test_sigmoid_does_not_constrain_its_variable():
    z = jnp.array([-40.0, 0.0, 40.0])
    assert Sigmoid().project(z) is z


def test_nan_is_passed_on():
    z = jnp.array([jnp.nan])
    assert np.isnan(Sigmoid().decode(z))
    assert np.isnan(Pixels(bounds=(0.0, 1.0)).project(z))


def test_bounds_may_be_traced():
    decode = jax.jit(lambda high: Sigmoid((0.0, high)).decode(jnp.zeros(2)))
    np.testing.assert_array_equal(decode(3.0), [1.5, 1.5])


@pytest.mark.parametrize("make", [lambda bounds: Pixels(bounds=bounds), Sigmoid])
@pytest.mark.parametrize("bounds", [(1.0, 0.0), (0.5, 0.5), (0.0, float("nan"))])
def test_bounds_in_the_wrong_order_are_refused(make, bounds):
    with pytest.raises(ValueError, match="lower one first"):
        make(bounds)


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match="finite"):
        Sigmoid((0.0, float("inf")))
    for margin in (0.0, 0.5, -0.1):
        with pytest.raises(ValueError, match="margin"):
            Sigmoid(margin=margin)
    with pytest.raises(TypeError):
        AbstractParametrization()  # pyright: ignore[reportAbstractUsage]


def wrapped(inner):
    """What acts on the image of another parametrization, for images of shape (3, 9, 8)."""
    mask = np.indices((9, 8)).sum(0) % 3 / 2
    image = jnp.asarray(np.random.default_rng(3).uniform(size=(3, 9, 8)))
    return [Sigmoid(inner=inner), DecorrelatedColor(inner=inner), Masked(mask, image, inner=inner)]


@pytest.mark.parametrize(
    "shape", [(1, 8, 8), (3, 9, 8), (2, 5, 7, 6), (1, 1), (13, 1), (2, 64, 47)]
)
@pytest.mark.parametrize("exponent", [1.0, 0.0, 2.5])
def test_fourier_decode_inverts_encode_at_any_size(shape, exponent, rng, x64):
    parametrization = Fourier(exponent=exponent)
    for dtype, tolerance in ((jnp.float32, 1e-6), (jnp.float64, 1e-12)):
        image = jnp.asarray(rng.uniform(size=shape), dtype)
        z = parametrization.encode(image)
        assert z.shape == shape
        assert z.dtype == dtype
        np.testing.assert_allclose(parametrization.decode(z), image, atol=tolerance)


def test_fourier_variable_is_the_coefficients_over_the_scale(rng, x64):
    image = rng.uniform(size=(2, 6, 9))
    spectrum = np.fft.fft2(image) / np.sqrt(54)
    frequency = np.hypot(np.fft.fftfreq(6)[:, None], np.fft.fftfreq(9)[None])
    scale = 1 / np.maximum(frequency, 1 / 9)
    scale /= np.sqrt(np.mean(scale**2))
    z = np.asarray(Fourier().encode(jnp.asarray(image)))
    np.testing.assert_allclose(z * scale, spectrum.real - spectrum.imag, atol=1e-13)
    opposite = np.roll(z[:, ::-1, ::-1], (1, 1), (1, 2))
    np.testing.assert_allclose((opposite - z) / 2 * scale, spectrum.imag, atol=1e-13)


def test_fourier_is_orthogonal_but_for_a_symmetric_scale(rng, x64):
    flat, parametrization = Fourier(exponent=0.0), Fourier()
    z, image = jnp.asarray(rng.standard_normal((2, 2, 6, 9)))
    np.testing.assert_allclose(flat.decode(flat.decode(z)), z, atol=1e-13)
    np.testing.assert_allclose(jnp.vdot(flat.decode(z), image), jnp.vdot(z, flat.decode(image)))
    # The adjoint of decode is the transform, then the scale.
    adjoint = jax.vjp(parametrization.decode, z)[1](image)[0]
    squared = adjoint / parametrization.encode(image)
    scale = parametrization.encode(flat.decode(jnp.ones_like(z)))
    np.testing.assert_allclose(squared, scale**-2, rtol=1e-9)


@pytest.mark.parametrize("shape", [(3, 64, 64), (3, 31, 50)])
def test_equal_steps_move_the_pixels_as_much_as_pixels(shape, rng):
    z = jnp.asarray(rng.standard_normal(shape), jnp.float32)
    photograph_like = Fourier().decode(z)
    np.testing.assert_allclose(jnp.sqrt(jnp.mean(photograph_like**2)), 1, rtol=0.2)
    for color in (DecorrelatedColor(), DecorrelatedColor.from_image(photograph_like)):
        np.testing.assert_allclose(jnp.sum(color.matrix**2), 3, rtol=1e-6)
        np.testing.assert_allclose(jnp.sqrt(jnp.mean(color.decode(z) ** 2)), 1, rtol=0.05)


def test_decorrelated_color_measures_the_axes_of_an_image(rng, x64):
    mixing = rng.standard_normal((4, 4))
    image = jnp.asarray(np.einsum("ij,jhw->ihw", mixing, rng.standard_normal((4, 20, 30))))
    parametrization = DecorrelatedColor.from_image(image)
    z = parametrization.encode(image)
    covariance = np.cov(z.reshape(4, -1))
    np.testing.assert_allclose(covariance / covariance[0, 0], np.eye(4), atol=1e-9)
    np.testing.assert_allclose(parametrization.decode(z), image, atol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_decorrelated_color_of_gray_and_of_one_channel(dtype, rng, x64):
    gray = jnp.asarray(rng.uniform(size=(1, 8, 8)), dtype)
    for image in (gray, jnp.broadcast_to(gray, (3, 8, 8))):
        parametrization = DecorrelatedColor.from_image(image, inner=Fourier())
        decoded = parametrization.decode(parametrization.encode(image))
        assert decoded.dtype == dtype
        np.testing.assert_allclose(decoded, image, atol=20 * jnp.finfo(dtype).eps)


def test_decorrelated_color_by_hand():
    swap = DecorrelatedColor(np.array([[0.0, 2.0], [1.0, 0.0]]))
    z = jnp.array([1.0, 3.0]).reshape(2, 1, 1)
    np.testing.assert_array_equal(swap.decode(z).ravel(), [6, 1])
    np.testing.assert_array_equal(swap.encode(swap.decode(z)), z)
    # The first axis of natural color is close to gray.
    first = DecorrelatedColor().matrix[:, 0]
    np.testing.assert_allclose(first / first.mean(), [0.975, 1.0125, 1.0125], rtol=1e-5)


@pytest.mark.parametrize("inner", [Pixels(), Sigmoid(), Fourier(), DecorrelatedColor()])
def test_masked_image_moves_only_inside_and_only_there_has_a_gradient(inner, rng):
    image, weights = jnp.asarray(rng.uniform(0.1, 0.9, (2, 3, 6, 8)), jnp.float32)
    mask = np.zeros((6, 8))
    mask[2:4, 1:5], mask[2, 0] = 1, 0.25
    parametrization = Masked(mask, image, inner=inner)
    z = inner.encode(weights)
    decoded, pullback = jax.vjp(parametrization.decode, z)
    np.testing.assert_array_equal(decoded[:, mask == 0], image[:, mask == 0])
    np.testing.assert_array_equal(decoded[:, mask == 1], inner.decode(z)[:, mask == 1])
    blended = 0.25 * inner.decode(z)[:, 2, 0] + 0.75 * image[:, 2, 0]
    np.testing.assert_allclose(decoded[:, 2, 0], blended, rtol=1e-5)
    outside = weights * jnp.asarray(mask == 0, jnp.float32)[None]
    np.testing.assert_array_equal(pullback(outside)[0], jnp.zeros_like(z))
    if isinstance(inner, Pixels | Sigmoid):
        gradient = pullback(weights)[0]
        np.testing.assert_array_equal(gradient != 0, np.broadcast_to(mask != 0, gradient.shape))


@pytest.mark.parametrize("shape", [(1, 16, 16), (3, 15, 17), (2, 8, 9)])
def test_images_of_a_fixed_spectrum_have_its_amplitudes_and_any_phases(shape, rng, x64):
    target, other = jnp.asarray(rng.random((2, *shape)))
    parametrization = FixedSpectrum.from_images(target)
    found = parametrization.decode(other)
    wanted = np.abs(np.fft.fft2(target))
    np.testing.assert_allclose(np.abs(np.fft.fft2(found)), wanted, atol=1e-12 * wanted.max())
    turned = np.fft.fft2(found) / np.fft.fft2(other)
    np.testing.assert_allclose(turned.imag, 0, atol=1e-12 * np.abs(turned).max())
    np.testing.assert_allclose(found.mean((1, 2)), target.mean((1, 2)), rtol=1e-12)
    np.testing.assert_allclose(parametrization.project(found), found, atol=1e-12)
    np.testing.assert_allclose(parametrization.encode(target), target, atol=1e-12)
    decode = jax.jit(lambda z: parametrization.decode(z))
    check_grads(decode, (other,), order=1, modes=["fwd", "rev"])


def test_a_fixed_spectrum_of_several_images_is_their_mean(rng):
    images = jnp.asarray(rng.random((5, 1, 12, 10)), jnp.float32)
    parametrization = FixedSpectrum.from_images(images)
    found = parametrization.decode(images[0])
    wanted = np.abs(np.fft.fft2(images)).mean(0)
    np.testing.assert_allclose(np.abs(np.fft.fft2(found)), wanted, atol=1e-5 * wanted.max())


@pytest.mark.parametrize("level", [0.0, 0.5])
def test_a_constant_variable_of_a_fixed_spectrum_has_finite_gradients(level, rng):
    parametrization = FixedSpectrum.from_images(jnp.asarray(rng.random((1, 8, 8)), jnp.float32))
    z = jnp.full((1, 8, 8), level)
    value, gradient = jax.value_and_grad(lambda z: jnp.sum(parametrization.decode(z) ** 2))(z)
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_metamers_keep_a_fixed_spectrum_and_say_which_pixels_leave_the_range(rng):
    image = jnp.round(plx.data.grass()[:, :24, :24])
    result = plx.metamer(
        image,
        plx.models.Gaussian(5),
        key=jax.random.key(0),
        optimizer=optax.adam(0.05),
        parametrization=FixedSpectrum.from_images(image),
        penalty_lambda=0.0,
        max_steps=60,
        progress=False,
    )
    assert result.trace.losses[-1] < 0.5 * result.trace.losses[0]
    amplitudes = [np.abs(np.fft.fft2(one)) for one in (image, result.image)]
    np.testing.assert_allclose(*amplitudes, atol=1e-6 * amplitudes[0].max())
    share = np.mean((np.asarray(result.image) < 0) | (np.asarray(result.image) > 1))
    assert share > 0
    assert f", in {share:.2%} of the pixels" in " ".join(str(result.report()).split())


def test_fixed_spectra_refuse(unchecked):
    with pytest.raises(ValueError, match=r"got shape \(4,\)"):
        FixedSpectrum.from_images(jnp.ones(4))
    with pytest.raises(ValueError, match=r"5 columns for images 8 pixels wide, got shape \(8, 8\)"):
        FixedSpectrum(jnp.ones((8, 8)), width=8)
    with pytest.raises(ValueError, match="8 x 9 pixels as the spectrum, got 8 x 8"):
        FixedSpectrum.from_images(jnp.ones((1, 8, 9))).decode(jnp.ones((1, 8, 8)))


def test_soft_mask_of_images_in_range_stays_in_range(rng):
    mask = jnp.asarray(rng.uniform(size=(1, 100, 100)), jnp.float32)
    for level in (0.0, 1.0):
        image = jnp.full((1, 100, 100), level)
        np.testing.assert_array_equal(Masked(mask, image).decode(image), image)


@pytest.mark.parametrize("place", range(3))
def test_wrapped_parametrizations_pass_everything_on(place, rng, x64):
    box = Pixels(bounds=(0.25, 0.5))
    parametrization = wrapped(box)[place]
    z = jnp.asarray(rng.standard_normal((3, 9, 8)), jnp.float32)
    np.testing.assert_array_equal(parametrization.project(z), box.project(z))
    assert parametrization.decode(z).dtype == jnp.float32
    image = parametrization.decode(z)
    encoded = wrapped(Fourier())[place].encode(image)
    np.testing.assert_allclose(
        Fourier().decode(encoded), wrapped(Pixels())[place].encode(image), atol=1e-4
    )


def test_parametrizations_refuse(unchecked):
    image = jnp.zeros((3, 4, 5))
    for matrix, message in ((np.ones((2, 3)), "square"), (np.ones((3, 3)), "invertible")):
        with pytest.raises(ValueError, match=message):
            DecorrelatedColor(matrix)
    with pytest.raises(ValueError, match="must have 3 channels to fit the matrix, got 1"):
        DecorrelatedColor().encode(jnp.zeros((1, 4, 5)))
    with pytest.raises(ValueError, match="constant"):
        DecorrelatedColor.from_image(image)
    with pytest.raises(ValueError, match=r"\(3, 4, 5\).*\(4, 4\)"):
        Masked(jnp.ones((4, 4)), image)
    with pytest.raises(ValueError, match="from 0 to 1"):
        Masked(jnp.full((4, 5), 1.5), image)
    with pytest.raises(ValueError, match=r"\(3, 4, 5\), got \(3, 8, 8\)"):
        Masked(jnp.ones((4, 5), bool), image).encode(jnp.zeros((3, 8, 8)))


class BlurredColors(eqx.Module):
    blur: plx.models.Gaussian

    def __call__(self, image):
        return jax.vmap(self.blur)(image[:, None])


MASK = np.pad(np.ones((8, 8)), 4)
STACKS = {
    "pixels": lambda image: Pixels(bounds=(0.0, 1.0)),
    "sigmoid of Fourier": lambda image: Sigmoid(inner=Fourier()),
    "Fourier": lambda image: Fourier(),
    "color": lambda image: DecorrelatedColor.from_image(image),
    "mask": lambda image: Masked(MASK, image, inner=Pixels(bounds=(0.0, 1.0))),
    "all": lambda image: Masked(
        MASK, image, inner=Sigmoid(inner=DecorrelatedColor(inner=Fourier()))
    ),
}


@pytest.mark.parametrize("name", STACKS)
def test_metamers_descend_and_keep_their_constraints(name, rng):
    # Near black and white, where a descent on free pixels leaves the range.
    image = jnp.asarray(np.round(rng.uniform(size=(3, 16, 16))), jnp.float32)
    result = plx.metamer(
        image,
        BlurredColors(plx.models.Gaussian(5, std=1.5)),
        key=jax.random.key(0),
        optimizer=optax.adam(0.05),
        parametrization=STACKS[name](image),
        max_steps=40,
        penalty_lambda=0.0,
        progress=False,
    )
    assert result.trace.losses[-1] < 0.3 * result.trace.losses[0]
    assert result.image.dtype == jnp.float32
    in_range = bool(jnp.all((result.image >= 0) & (result.image <= 1)))
    # Free pixels leave the range here, so the others are held in it.
    assert in_range == (name not in ("Fourier", "color"))
    if isinstance(result.problem.parametrization, Masked):
        np.testing.assert_array_equal(result.image[:, MASK == 0], image[:, MASK == 0])
        assert np.mean(result.image[:, MASK == 1] != image[:, MASK == 1]) > 0.5
