import jax
import jax.numpy as jnp
import numpy as np
import pytest
import skimage.data

import plenoptax as plx
from plenoptax.models import ColorPortillaSimoncelli


BETWEEN = (
    "cross_orientation_correlation_magnitude",
    "cross_scale_correlation_magnitude",
    "cross_scale_correlation_real",
    "cross_orientation_correlation_real",
    "color_covariance",
    "auto_correlation_transformed",
    "skew_transformed",
    "kurtosis_transformed",
    "cross_correlation_lowpass",
    "cross_correlation_coarsest_scale_lowpass",
    "color_quantiles",
)


@pytest.fixture(scope="module")
def target():
    crop = skimage.data.immunohistochemistry()[16:48, 32:64]
    return jnp.asarray(np.moveaxis(crop, -1, 0) / 255, jnp.float32)


def make_model(**options):
    return ColorPortillaSimoncelli((32, 32), 2, 2, 3, **options)


def test_a_metamer_of_each_group_between_channels_has_that_group(target):
    groups = dict.fromkeys(make_model().statistic_groups)
    start = target.mean((1, 2), keepdims=True) + 0.1 * (
        jax.random.uniform(jax.random.key(0), target.shape) - 0.5
    )
    for name in BETWEEN:
        # The weights are a leaf of the model, so all groups share one program.
        weights = {group: 100.0 * (group == name) for group in groups}
        model = make_model(weights=weights)
        result = plx.metamer(
            target,
            model,
            plx.loss.mse,
            initial_image=start,
            optimizer=plx.lbfgs(20),
            max_steps=40,
            progress=False,
        )
        wanted = model(target)
        before, after = (jnp.linalg.norm(model(image) - wanted) for image in (start, result.image))
        assert after < 0.15 * before, (name, before, after)
        assert result.success is None


def test_coarse_to_fine_and_mixtures(target):
    model = make_model()
    loss = plx.loss.portilla_simoncelli_loss_factory(model, target)
    result = plx.metamer_ctf(
        target,
        model,
        loss,
        key=jax.random.key(0),
        ctf_iters_to_check=4,
        max_steps=30,
        change_scale_criterion=None,
        optimizer=plx.lbfgs(10),
        progress=False,
    )
    terms = result.trace.terms
    assert result.problem.scales == ("pixel_statistics", "residual_lowpass", "1", "0", "all")
    assert set(np.asarray(terms["stage"]).tolist()) == set(range(5))
    assert terms["loss_of_all_scales"][-1] < 0.5 * terms["loss_of_all_scales"][0]
    other = target[:, ::-1].at[0].multiply(0.8)
    mixture = (model(target) + model(other)) / 2
    mixed = plx.metamer(
        target,
        model,
        loss,
        target_representation=mixture,
        key=jax.random.key(0),
        max_steps=60,
        optimizer=plx.lbfgs(10),
        progress=False,
    )
    assert loss(model(mixed.image), mixture) < 0.5 * loss(model(target), mixture)
