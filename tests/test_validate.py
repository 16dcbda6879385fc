import functools as ft
import warnings

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import plenoptax as plx
from plenoptax import validate


pytestmark = pytest.mark.usefixtures("unchecked")


class WithDropout(eqx.Module):
    dropout: eqx.nn.Dropout = eqx.nn.Dropout(0.5)

    def __call__(self, image):
        return self.dropout(image, key=jax.random.key(0))


def halved(image):
    return image.astype(jnp.float16)


def branching(image):
    return image if image.sum() > 0 else -image


DRAWS = np.random.default_rng(0)
MODEL_FAULTS = {
    "not a callable": (3, TypeError, "callable from an image"),
    "no array": (lambda image: "text", TypeError, "array or a tree of arrays, got str"),
    "nothing": (lambda image: None, TypeError, "got nothing"),
    "numpy": (lambda image: jnp.asarray(np.sqrt(np.asarray(image))), ValueError, "stay within JAX"),
    "a decision": (branching, ValueError, "stay within JAX"),
    "half precision": (halved, TypeError, "float32 to float16"),
    "integers": (lambda image: jnp.round(image).astype(jnp.int32), TypeError, "to int32"),
    "no gradient": (jax.lax.stop_gradient, ValueError, "no gradient"),
    "constant": (lambda image: jnp.ones(3), ValueError, "no gradient"),
    "hidden": (jax.jit(lambda image: jax.lax.stop_gradient(image) + 1), ValueError, "no gradient"),
    "stochastic": (lambda image: image + DRAWS.random(), ValueError, "stochastic"),
}


@pytest.mark.parametrize("name", MODEL_FAULTS)
def test_faults_of_a_model_are_named(name):
    model, error, message = MODEL_FAULTS[name]
    with pytest.raises(error, match=message):
        validate.validate_model(model)


@pytest.mark.parametrize(
    "model",
    [
        plx.models.Gaussian(5),
        lambda image: {"energy": image**2, "spectrum": jnp.fft.fft2(image)},
        lambda image: (jax.lax.stop_gradient(image), image.sum()),
    ],
)
def test_good_models_pass_without_being_evaluated(model):
    evaluated = []

    def watched(image):
        if not isinstance(image, jax.core.Tracer):
            evaluated.append(image)
        return model(image)

    with warnings.catch_warnings(record=True) as caught:
        validate.validate_model(watched)
    assert caught == []
    assert evaluated == []


def test_double_precision_passes(x64):
    validate.validate_model(plx.models.Gaussian(5), image_dtype="float64")
    with pytest.raises(TypeError, match="float64 to float32"):
        validate.validate_model(lambda x: x.astype(jnp.float32), image_dtype="float64")


def test_training_mode_warns():
    with pytest.warns(UserWarning, match="training mode"):
        validate.validate_model(WithDropout())
    validate.validate_model(eqx.nn.inference_mode(WithDropout()))


def test_models_for_one_size_are_traced_at_it():
    def model(image):
        return jnp.reshape(image, (4, 25))

    validate.validate_model(model, image_shape=(1, 10, 10))
    with pytest.raises(TypeError):
        validate.validate_model(model)


def test_images():
    validate.validate_input(jnp.zeros((1, 4, 4)), no_batch=True)
    with pytest.raises(TypeError, match="got int32"):
        validate.validate_input(jnp.zeros((1, 4, 4), jnp.int32))
    with pytest.raises(TypeError, match="got list"):
        validate.validate_input([0.0])
    with pytest.raises(ValueError, match="infinite"):
        validate.validate_input(jnp.full((1, 4, 4), jnp.nan))
    with pytest.raises(ValueError, match="The image must be a single one"):
        validate.validate_input(jnp.zeros((2, 1, 4, 4)), no_batch=True)
    with pytest.warns(UserWarning, match=r"from 0 to 255, outside of \[0, 1\]"):
        validate.validate_input(jnp.array([[[0.0, 255.0]]]))
    validate.validate_input(jnp.array([[[0.0, 255.0]]]), allowed_range=(0, 255))


OUT_OF_RANGE = {
    "overshoot": (
        lambda image: image,
        r"clip it \(jnp.clip\(image, 0, 1\) moves values by up to 0.\d+",
    ),
    "8 bits": (lambda image: 255 * image, "divide it by its range"),
    "contrast": (lambda image: 2 * image - 1, "shift and scale it"),
}


@pytest.mark.parametrize("name", OUT_OF_RANGE)
def test_images_out_of_range_come_with_the_way_into_it(name, unchecked):
    change, way = OUT_OF_RANGE[name]
    # What is resampled rings at edges.
    image = change(plx.process.shrink(jnp.zeros((1, 16, 16)).at[:, :, 5:11].set(1), 2))
    with pytest.warns(UserWarning, match=way):
        plx.Metamer(image, plx.models.Gaussian(3))
    with pytest.warns(UserWarning, match=way), pytest.raises(ValueError, match=way):
        plx.mad_competition_set(image, plx.metric.mse, plx.metric.mse, key=jax.random.key(0))
    with pytest.warns(UserWarning, match=way):
        plx.metric.nlpd(image, image)


def test_the_range_that_is_checked_is_that_of_the_penalty():
    wide = ft.partial(plx.regularize.penalize_range, allowed_range=(0.0, 2.0))
    image, model = jnp.full((1, 4, 4), 1.5), plx.models.Gaussian(3)
    plx.Metamer(image, model, penalty_function=wide)
    plx.Metamer(image, model, penalty_lambda=0)
    with pytest.warns(UserWarning, match=r"outside of \[0, 2\]: clip it \(jnp.clip\(image, 0, 2\)"):
        plx.Metamer(image + 0.75, model, penalty_function=wide)


def squares(a, b):
    return jnp.mean((a - b) ** 2)


def test_metrics():
    validate.validate_metric(squares)
    with pytest.raises(TypeError, match="callable of two images"):
        validate.validate_metric("mse")
    with pytest.raises(TypeError, match="positional argument"):
        validate.validate_metric(jnp.sin)
    with pytest.raises(ValueError, match="one number"):
        validate.validate_metric(lambda a, b: (a - b) ** 2)
    with pytest.raises(ValueError, match="two equal images is 1"):
        validate.validate_metric(lambda a, b: 1 - squares(a, b))
    with pytest.raises(ValueError, match=r"smallest for two equal images, got -\d"):
        validate.validate_metric(lambda a, b: -squares(a, b))


@pytest.mark.parametrize("wrap", [lambda model: model, lambda model: lambda x: model(x)])
def test_metrics_of_a_batch_of_models_have_no_values_to_judge(wrap, getkey):
    image = jax.random.uniform(getkey(), (1, 8, 8))

    def pose(std):
        model = eqx.tree_at(lambda m: m.std, plx.models.Gaussian(3, std=1.0), std)
        metric = plx.metric.model_metric_factory(wrap(model))
        return plx.MADCompetition(image, metric, plx.metric.mse, "min")

    problems = plx.batch(pose, jnp.array([[0.5], [2.0]]))
    assert problems.size == 2


def test_penalties():
    penalty = ft.partial(plx.regularize.penalize_range, allowed_range=(0, 255))
    validate.validate_penalty(penalty)
    with pytest.raises(ValueError, match="one number"):
        validate.validate_penalty(jnp.abs)
    with pytest.raises(ValueError, match="no gradient"):
        validate.validate_penalty(lambda image: jnp.sum(jnp.where(image > 1, 1.0, 0.0)))
    with pytest.raises(TypeError, match="callable of an image"):
        validate.validate_penalty(None)


def test_scales():
    model = plx.models.PortillaSimoncelli((32, 32), n_scales=2, spatial_corr_width=3)
    validate.validate_coarse_to_fine(model, (1, 32, 32))

    class Indifferent:
        scales = ("a", "b")

        def __call__(self, image, scales=None):
            return image

    class Unaware:
        scales = ("a", "b")

        def __call__(self, image):
            return image

    with pytest.raises(ValueError, match="fewer values"):
        validate.validate_coarse_to_fine(Indifferent())
    with pytest.raises(TypeError, match="cannot be called with scales"):
        validate.validate_coarse_to_fine(Unaware())
    with pytest.raises(AttributeError, match="no attribute scales"):
        validate.validate_coarse_to_fine(squares)


def test_conversions():
    model = plx.models.PortillaSimoncelli((32, 32), n_scales=2, spatial_corr_width=3)
    validate.validate_convert_tensor_dict(model, (1, 32, 32), n_checks=2)

    class Lossy:
        def __call__(self, image):
            return image.ravel()

        def convert_to_dict(self, representation):
            return {"all": representation}

        def convert_to_tensor(self, representation):
            return jnp.round(representation["all"])

    with pytest.raises(ValueError, match="come back unchanged"):
        validate.validate_convert_tensor_dict(Lossy(), n_checks=2)
    with pytest.raises(AttributeError, match="no method convert_to_dict"):
        validate.validate_convert_tensor_dict(squares)


def test_entry_functions_validate(getkey):
    image = jax.random.uniform(getkey(), (1, 16, 16))
    with pytest.raises(ValueError, match="no gradient"):
        plx.metamer(image, jax.lax.stop_gradient, key=getkey())
    with pytest.raises(ValueError, match="one number"):
        plx.metamer(image, plx.models.Gaussian(5), penalty_function=jnp.abs, key=getkey())
    with pytest.warns(UserWarning, match="outside of"):
        plx.Metamer(255 * image, plx.models.Gaussian(5))


def test_comparisons_of_models_validate_each_of_them(getkey):
    image, good = jax.random.uniform(getkey(), (1, 8, 8)), plx.models.Gaussian(5)
    bad, kind, message = MODEL_FAULTS["stochastic"]
    found = plx.eigendistortions(image, good, progress=False)
    with pytest.raises(kind, match=message):
        plx.eigendistortions(image, bad, progress=False)
    with pytest.raises(kind, match=message):
        plx.equal_detectability(found, bad)
    with pytest.raises(kind, match=message):
        plx.generalized_eigendistortions(image, good, bad)
    with pytest.raises(kind, match=message):
        plx.principal_distortions(image, [good, good, bad], key=getkey())
