import pathlib

import chex
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import plenoptax as plx
from plenoptax import metamer
from plenoptax.loss import mse
from plenoptax.models import PortillaSimoncelli


REFERENCE = np.load(pathlib.Path(__file__).parents[1] / "reference/portilla_simoncelli.npz")
CONFIGURATIONS = range(sum(name.startswith("image") for name in REFERENCE.files))

# The tolerance of plenoptic's own tests: its masks are rounded to float32.
TOLERANCE = dict(rtol=1e-5, atol=1e-5)


def load(number):
    image = REFERENCE[f"image_{number}"]
    model = PortillaSimoncelli(image.shape, *REFERENCE[f"arguments_{number}"].tolist())
    return model, jnp.asarray(image / 255)[None]


@pytest.mark.parametrize("number", CONFIGURATIONS)
def test_portilla_simoncelli_equals_plenoptic(x64, number):
    model, image = load(number)
    representation = model(image)
    assert representation.dtype == jnp.float64
    np.testing.assert_allclose(representation, REFERENCE[f"representation_{number}"], **TOLERANCE)


@pytest.mark.parametrize("number", CONFIGURATIONS)
def test_statistic_scales_are_those_of_plenoptic(number):
    model, _ = load(number)
    labels = [str(label) for label in model.statistic_scales]
    assert labels == REFERENCE[f"scales_{number}"].tolist()


@pytest.mark.parity
@pytest.mark.parametrize("name", ["einstein", "curie", "reptile_skin"])
@pytest.mark.parametrize("arguments", [(4, 4, 7), (3, 2, 8), (4, 3, 9)])
def test_portilla_simoncelli_equals_plenoptic_on_photographs(x64, name, arguments):
    plenoptic = pytest.importorskip("plenoptic")
    image = getattr(plenoptic.data, name)().double()
    expected = plenoptic.models.PortillaSimoncelli(image.shape[-2:], *arguments).double()(image)
    model = PortillaSimoncelli(image.shape[-2:], *arguments)
    np.testing.assert_allclose(model(jnp.asarray(image[0].numpy())), expected[0], **TOLERANCE)


def number_of_statistics(scales, orientations, width):
    """Pixels and highpass; shifts; moments; standard deviations and pairs of bands."""
    shifts = width**2 // 2 if width % 2 else width**2 // 2 + width - 1
    pairs = orientations * (orientations - 1) // 2
    marginal = 6 + 1 + 3 * (scales + 1)
    correlated = shifts * (orientations * scales + scales + 1)
    return (
        marginal + correlated + (pairs + orientations) * scales + 3 * orientations**2 * (scales - 1)
    )


@pytest.mark.parametrize("scales", [1, 2, 4])
@pytest.mark.parametrize("orientations", [2, 3, 4, 6])
@pytest.mark.parametrize("width", [1, 2, 3, 6, 7, 9])
def test_num_statistics(scales, orientations, width):
    model = PortillaSimoncelli((144, 160), scales, orientations, width)
    assert model.num_statistics == number_of_statistics(scales, orientations, width)
    assert len(model.statistic_scales) == len(model.statistic_groups) == model.num_statistics


def count(labels):
    return {label: labels.count(label) for label in dict.fromkeys(labels)}


def test_default_statistics_are_those_of_the_paper():
    model = PortillaSimoncelli((128, 128))
    assert model.num_statistics == 710
    assert model.scales == ["pixel_statistics", "residual_lowpass", 3, 2, 1, 0, "residual_highpass"]
    scales = count(model.statistic_scales)
    assert [scales[label] for label in model.scales] == [6, 27, 133, 181, 181, 181, 1]
    groups = count(model.statistic_groups)
    # The table of the paper counts standard deviations with the correlations they belong to.
    total = {
        "marginal": [
            "pixel_statistics",
            "skew_reconstructed",
            "kurtosis_reconstructed",
            "var_highpass_residual",
        ],
        "raw": ["auto_correlation_reconstructed", "std_reconstructed"],
        "magnitude": [
            "auto_correlation_magnitude",
            "magnitude_std",
            "cross_orientation_correlation_magnitude",
            "cross_scale_correlation_magnitude",
        ],
        "phase": ["cross_scale_correlation_real"],
    }
    numbers = {name: sum(groups[group] for group in total[name]) for name in total}
    assert numbers == {"marginal": 17, "raw": 125, "magnitude": 472, "phase": 96}
    assert sum(groups.values()) == 710


def test_statistics_of_width_9():
    model = PortillaSimoncelli((144, 144), spatial_corr_width=9)
    assert model.num_statistics == 1046
    scales = count(model.statistic_scales)
    assert [scales[label] for label in (0, "residual_lowpass")] == [261, 43]
    assert scales[3] == 213


def test_call_measures_the_scales_that_are_asked_for(model, image):
    full = model(image)
    assert full.shape == (2, model.num_statistics)
    for scales in (["residual_lowpass"], [0], ["residual_highpass", 1, "pixel_statistics"]):
        part = model(image, scales)
        expected = model.remove_scales(full, scales)
        np.testing.assert_allclose(part, expected, rtol=1e-5, atol=1e-6)
        labels = [label for label in model.statistic_scales if label in scales]
        assert part.shape == (2, len(labels))
    np.testing.assert_array_equal(model(image, model.scales[::-1]), full)


def test_remove_scales_keeps_the_order(model):
    numbers = jnp.arange(model.num_statistics)
    kept = model.remove_scales(numbers, [1, "pixel_statistics"])
    np.testing.assert_array_equal(kept, np.sort(kept))
    assert {model.statistic_scales[index] for index in kept} == {1, "pixel_statistics"}
    everything = [model.remove_scales(numbers, [label]) for label in model.scales]
    np.testing.assert_array_equal(np.sort(np.concatenate(everything)), numbers)


def test_scales_that_are_not_asked_for_are_not_computed(model, image):
    def program(scales):
        return str(jax.make_jaxpr(lambda image: model(image, scales))(image))

    assert "c64[2,3,32,32]" in program([0])
    assert "c64[2,3,32,32]" not in program([1, "residual_lowpass"])
    assert "c64[2,3,16,16]" in program([1, "residual_lowpass"])
    assert program(["pixel_statistics"]).count(" fft[") == 1


@pytest.mark.parametrize("batch", [(), (2,), (3, 2)])
def test_convert_to_dict_and_back(model, rng, batch):
    representation = jnp.asarray(rng.random((*batch, model.num_statistics)), jnp.float32)
    groups = model.convert_to_dict(representation)
    assert list(groups) == list(dict.fromkeys(model.statistic_groups))
    assert {name: values.shape[len(batch) :] for name, values in groups.items()} == {
        "pixel_statistics": (6,),
        "auto_correlation_magnitude": (5, 5, 3, 2),
        "skew_reconstructed": (3,),
        "kurtosis_reconstructed": (3,),
        "auto_correlation_reconstructed": (5, 5, 3),
        "std_reconstructed": (3,),
        "cross_orientation_correlation_magnitude": (3, 3, 2),
        "magnitude_std": (3, 2),
        "cross_scale_correlation_magnitude": (3, 3, 1),
        "cross_scale_correlation_real": (3, 6, 1),
        "var_highpass_residual": (1,),
    }
    for name, values in groups.items():
        kept = ~np.isnan(values).reshape(*batch, -1)
        assert (kept.sum(-1) == model.statistic_groups.count(name)).all()
    shuffled = dict(reversed(groups.items()))
    np.testing.assert_array_equal(model.convert_to_tensor(shuffled), representation)


def test_convert_to_dict_has_gaps_where_shifts_are_mirrored():
    model = PortillaSimoncelli((64, 64), n_scales=3)
    groups = model.convert_to_dict(jnp.zeros(model.num_statistics))
    gaps = np.isnan(groups["auto_correlation_reconstructed"][..., 1])
    expected = np.triu(np.ones((7, 7), bool))
    expected[[0, 1, 2], [0, 1, 2]] = False
    np.testing.assert_array_equal(gaps, expected)
    gaps = np.isnan(groups["cross_orientation_correlation_magnitude"][..., 0])
    np.testing.assert_array_equal(gaps, np.triu(np.ones((4, 4), bool)))


def test_convert_to_dict_of_one_scale_has_no_pairs_of_scales():
    model = PortillaSimoncelli((16, 16), 1, 2, 3)
    groups = model.convert_to_dict(jnp.zeros((1, model.num_statistics)))
    assert groups["cross_scale_correlation_magnitude"].shape == (1, 2, 2, 0)
    assert groups["cross_scale_correlation_real"].shape == (1, 2, 4, 0)
    assert model.convert_to_tensor(groups).shape == (1, model.num_statistics)


def test_labels_follow_the_dict(model):
    numbers = jnp.arange(float(model.num_statistics))
    for name, values in model.convert_to_dict(numbers).items():
        for index in np.asarray(values[~np.isnan(values)], int):
            assert model.statistic_groups[index] == name
    scales = np.asarray(model.convert_to_dict(numbers)["magnitude_std"], int)
    assert [{model.statistic_scales[i] for i in column} for column in scales.T] == [{0}, {1}]
    lowpass = int(model.convert_to_dict(numbers)["std_reconstructed"][-1])
    assert model.statistic_scales[lowpass] == "residual_lowpass"


def test_channels_and_batches_are_independent(model, image):
    together = model(image)
    for channel in (0, 1):
        alone = model(image[channel, None])
        np.testing.assert_allclose(alone[0], together[channel], rtol=1e-4, atol=1e-5)
    batch = jax.vmap(model)(jnp.stack([image, image[::-1]]))
    np.testing.assert_allclose(batch[1], together[::-1], rtol=1e-4, atol=1e-5)


def test_dtype_follows_the_image(model, image, x64):
    assert model.masks.highpass.dtype == jnp.float32
    single, double = model(image), model(jnp.asarray(image, jnp.float64))
    assert (single.dtype, double.dtype) == (jnp.float32, jnp.float64)
    np.testing.assert_allclose(single, double, rtol=2e-4, atol=2e-5)
    exact = PortillaSimoncelli((32, 32), 2, 3, 5)(jnp.asarray(image, jnp.float64))
    np.testing.assert_allclose(double, exact, rtol=1e-6, atol=1e-6)


def test_gradient_equals_finite_differences(x64, rng):
    model = PortillaSimoncelli((16, 24), 2, 2, 3)
    image, direction = jnp.asarray(rng.random((2, 1, 16, 24)))

    def along(image):
        return jax.jvp(model, (image,), (direction,))

    (value, slope), step = along(image), 1e-6
    above, below = (along(image + sign * step * direction)[0] for sign in (1, -1))
    np.testing.assert_allclose(slope, (above - below) / (2 * step), rtol=1e-6, atol=1e-6)
    cotangent = jnp.asarray(rng.standard_normal(value.shape))
    (gradient,) = jax.vjp(model, image)[1](cotangent)
    np.testing.assert_allclose(jnp.vdot(gradient, direction), jnp.vdot(cotangent, slope))


def test_gradient_of_extrema_is_shared_by_ties(model):
    image = jnp.zeros((1, 32, 32)).at[0, 3, 4].set(1.0).at[0, 9, 9].set(1.0)
    maximum = jax.grad(lambda image: model(image, ["pixel_statistics"])[0, 5])(image)
    np.testing.assert_array_equal(maximum, jax.grad(jnp.max)(image))
    assert maximum[0, 3, 4] == 0.5


def test_new_images_and_weights_compile_nothing(image):
    chex.clear_trace_counter()

    @eqx.filter_jit
    @chex.assert_max_traces(n=1)
    def run(model, image):
        return model(image, ["residual_lowpass"])

    for factor in (1.0, 2.0):
        weights = {"std_reconstructed": factor}
        run(PortillaSimoncelli((32, 32), 2, 3, 5, weights=weights), factor * image)


def test_masks_are_arguments_and_not_constants(model, image):
    arrays = jax.tree.leaves(model)
    assert sum(array.nbytes for array in arrays) < 15 * 32 * 32 * 4
    closed = jax.make_jaxpr(lambda model, image: model(image))(model, image)
    assert sum(np.size(constant) for constant in closed.consts) < 32 * 32


def test_synthesis_leaves_the_masks_as_they_are(getkey):
    model = PortillaSimoncelli((16, 16), 1, 2, 3, weights={"magnitude_std": 2})
    image = jax.random.uniform(getkey(), (1, 16, 16))
    result = metamer(
        image, model, mse, key=getkey(), optimizer=optax.sgd(1.0), max_steps=2, progress=False
    )
    assert (result.image != image).any()
    chex.assert_trees_all_equal(result.problem.model, model)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (((32, 32),), "n_scales <= 3"),
        (((63, 64), 4), "at least 64 pixels"),
        (((32, 32), 0), "n_scales must be a whole number, at least 1"),
        (((32, 32), 2, 1), "n_orientations must be a whole number, at least 2"),
        (((32, 32), 2, 4, 0), "spatial_corr_width must be a whole number, at least 1"),
        (((32, 32), 2, 4, 9), "must be at most 8"),
        (((33, 64), 2, 4, 10), "must be at most 9"),
        (((1, 32, 32), 2), "height and the width"),
    ],
)
def test_arguments_out_of_range(arguments, match):
    with pytest.raises(ValueError, match=match):
        PortillaSimoncelli(*arguments)


def test_width_may_reach_the_size_of_the_lowpass_residual():
    assert PortillaSimoncelli((33, 64), 2, 4, 9).num_statistics > 0


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((32, 32), np.float32),
        np.zeros((1, 1, 32, 32), np.float32),
        np.zeros((1, 32, 32), np.uint8),
        np.zeros((1, 32, 32), np.float16),
    ],
)
def test_wrong_images(model, image):
    with pytest.raises(ValueError, match=r"shape \(channel, height, width\) and be in float32"):
        model(jnp.asarray(image))


def test_images_too_small(model):
    with pytest.raises(ValueError, match="at least 16 pixels"):
        model(jnp.zeros((1, 15, 32)))
    with pytest.raises(ValueError, match="must be at most 4"):
        model(jnp.zeros((1, 16, 32)))


def test_wrong_scales(model, image):
    for scales in ([2], ["lowpass"], [], "residual_lowpass"):
        with pytest.raises(ValueError, match="scales must be some of"):
            model(image, scales)
        with pytest.raises(ValueError, match="scales must be some of"):
            model.remove_scales(jnp.zeros(model.num_statistics), scales)


def test_wrong_representations(model):
    part = jnp.zeros((1, 10))
    with pytest.raises(ValueError, match=rf"all {model.num_statistics} statistics.*\(1, 10\)"):
        model.convert_to_dict(part)
    with pytest.raises(ValueError, match="all"):
        model.remove_scales(part, [0])
    groups = model.convert_to_dict(jnp.zeros((1, model.num_statistics)))
    with pytest.raises(ValueError, match="'magnitude_std' must have the shape"):
        model.convert_to_tensor(groups | {"magnitude_std": jnp.zeros((1, 2, 3))})
    groups.pop("magnitude_std")
    with pytest.raises(ValueError, match="must have the keys"):
        model.convert_to_tensor(groups)


def test_magnitude_means_are_those_of_the_pyramid(getkey):
    image = jax.random.uniform(getkey(), (1, 64, 64))
    plain = plx.models.PortillaSimoncelli((64, 64), n_scales=3)
    model = plx.models.PortillaSimoncelli((64, 64), n_scales=3, magnitude_means=True)
    representation = model(image)
    assert model.num_statistics == plain.num_statistics + 3 * 4
    np.testing.assert_allclose(
        representation[:, : plain.num_statistics], plain(image), rtol=1e-6, atol=1e-7
    )
    pyramid = plx.process.SteerablePyramidFreq(
        (64, 64), height=3, order=3, is_complex=True, tight_frame=False
    )
    coefficients = pyramid(image)
    means = model.convert_to_dict(representation)["magnitude_means"]
    for scale in range(3):
        wanted = jnp.abs(coefficients[scale]).mean((-2, -1))
        np.testing.assert_allclose(means[..., scale], wanted, rtol=1e-4)
    (only_coarse,) = model(image, scales=[2])
    assert only_coarse.size == plain(image, scales=[2]).size + 4
