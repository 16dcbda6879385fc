"""What a model or a loss says of itself."""

import functools
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import pytest

import plenoptax as plx
from plenoptax.synthesis._judge import judge
from plenoptax.synthesis._null import null_of_model


OPTIONS = {"key": jax.random.key(0), "max_steps": 2, "progress": False}


class Delegate(eqx.Module):
    """A texture model of somebody else, which answers as the one inside of it."""

    inner: plx.models.PortillaSimoncelli

    def __call__(self, image):
        return self.inner(image)

    def __getattr__(self, name):
        if name == "inner":
            raise AttributeError(name)
        return getattr(self.inner, name)


class Doubled(eqx.Module):
    """A loss with a term for the trace."""

    weights: jax.Array
    lbfgs_memory: ClassVar[int] = 7

    def __call__(self, synth_rep, ref_rep):
        return 2 * jnp.sum((self.weights * (synth_rep - ref_rep)) ** 2)

    def trace_terms(self, synth_rep, ref_rep):
        return {"largest": jnp.max(jnp.abs(synth_rep - ref_rep))}


class Rows(eqx.Module):
    """A model that gives all answers: the rows of an image on two scales."""

    lbfgs_memory: ClassVar[int] = 9
    statistic_groups: ClassVar[tuple[str, ...]] = ("mean",) * 32 + ("square",) * 32
    scales: ClassVar[tuple[str, ...]] = ("mean", "square")
    citation: ClassVar[str] = "@article{rows}"

    def __call__(self, image, scales=scales):
        values = {"mean": image.mean(-1), "square": (image**2).mean(-1)}
        return jnp.concatenate([values[name] for name in self.scales if name in scales], -1)

    def default_loss(self, image):
        return Doubled(jnp.full((1, 64), image.shape[-1], image.dtype))

    def default_stage_loss(self, image):
        return plx.loss.l2_norm

    def initial_image(self, image, *, key):
        return jnp.full_like(image, 0.25) + 0.1 * jax.random.uniform(key, image.shape)

    def null_statistics(self):
        rows = np.random.default_rng(0).normal(size=(12, 64))
        return plx.data.NaturalStatistics(np.zeros(64), np.ones(64), rows, np.arange(12), 12, 32)

    def plot_representation(self, data, *, ax, ylim, batch_idx, title):
        ax.plot(np.ravel(data))
        return ax

    def update_plot(self, axes, data, *, batch_idx, rescale_ylim):
        axes[0].lines[0].set_ydata(np.ravel(data))
        return [axes[0].lines[0]]


WRAPS = {
    "itself": lambda model: model,
    "a stranger": Delegate,
    "compiled": eqx.filter_jit,
    "partial": functools.partial,
    "both": lambda model: jax.tree_util.Partial(eqx.filter_jit(model)),
}


@pytest.fixture(scope="module")
def texture():
    return plx.data.brick()[:, :32, :32]


@pytest.fixture(scope="module")
def model():
    return plx.models.PortillaSimoncelli((32, 32), n_scales=1, spatial_corr_width=5)


@pytest.fixture(scope="module")
def result(texture, model):
    return plx.metamer(texture, model, **OPTIONS)


@pytest.mark.parametrize("name", WRAPS)
def test_other_texture_models_get_what_ours_gets(name, texture, model, result):
    other = WRAPS[name](model)
    found = plx.metamer(texture, other, **OPTIONS)
    loss, wanted_loss = found.problem.loss_function, result.problem.loss_function
    np.testing.assert_array_equal(loss.whitening, wanted_loss.whitening)
    np.testing.assert_array_equal(loss.base.weights, wanted_loss.base.weights)
    starts = [r.problem.initial_image(OPTIONS["key"]) for r in (found, result)]
    np.testing.assert_array_equal(*starts)
    assert found.trace.provenance["optimizer"] == result.trace.provenance["optimizer"]
    assert "LBFGS(memory_size=30" in found.trace.provenance["optimizer"]
    np.testing.assert_allclose(found.trace.losses, result.trace.losses, rtol=1e-5)
    np.testing.assert_allclose(
        found.trace.terms["weighted_loss"], result.trace.terms["weighted_loss"], rtol=1e-5
    )
    report, wanted = found.report(), result.report()
    assert list(report.groups) == list(wanted.groups)
    assert len(report.groups) > 5
    assert report.null == wanted.null
    pictures = [
        [ax.get_title() for ax in plx.plot.plot_representation(one, model(texture))]
        for one in (other, model)
    ]
    assert pictures[0] == pictures[1]
    assert len(pictures[0]) == 6


@pytest.mark.parametrize("name", WRAPS)
def test_other_texture_models_have_its_null(name):
    model = plx.models.PortillaSimoncelli((128, 128), weights={"magnitude_std": -2.0})
    target = jnp.ones((1, 710))
    found = null_of_model(WRAPS[name](model), target)
    wanted = null_of_model(model, target)
    np.testing.assert_array_equal(found.mean, wanted.mean)
    np.testing.assert_array_equal(found.z_scores, wanted.z_scores)
    assert wanted.name == "images that come with PortillaSimoncelli"
    assert found.name.startswith("images that come with ")
    assert found.num_unrelated == 11


def test_the_texture_model_has_a_null_with_its_default_arguments_only():
    assert plx.models.PortillaSimoncelli((128, 128)).null_statistics() is not None
    for changed in ({"n_scales": 3}, {"n_orientations": 3}, {"magnitude_means": True}):
        assert plx.models.PortillaSimoncelli((128, 128), **changed).null_statistics() is None


@pytest.mark.parametrize("wrap", [WRAPS["itself"], functools.partial, eqx.filter_jit])
def test_all_answers_of_a_model_are_asked_for(wrap, texture):
    model = wrap(Rows())
    result = plx.metamer(texture, model, **OPTIONS)
    assert float(result.problem.loss_function.weights[0, 0]) == 32
    assert result.problem.initial_image(OPTIONS["key"]).max() < 0.36
    assert "LBFGS(memory_size=7" in result.trace.provenance["optimizer"]
    difference = np.abs(np.asarray(model(result.image) - model(texture)))
    np.testing.assert_allclose(result.trace.terms["largest"][-1], difference.max(), rtol=1e-3)
    report = result.report()
    assert {name: group.size for name, group in report.groups.items()} == {"mean": 32, "square": 32}
    assert report.null == "images that come with Rows: 12 images, 66 pairs of unrelated images"
    assert all(group.passes is not None for group in report.groups.values())
    (axes,) = plx.plot.plot_representation(model, model(texture))
    assert len(axes.lines[0].get_ydata()) == 64
    (line,) = plx.plot.update_plot([axes], 2 * model(texture), model)
    np.testing.assert_allclose(line.get_ydata(), 2 * np.ravel(model(texture)))
    plt.close("all")


def test_stages_have_a_loss_of_their_own(texture):
    result = plx.metamer_ctf(texture, Rows(), ctf_iters_to_check=1, max_stage_steps=2, **OPTIONS)
    assert result.problem.loss_function is plx.loss.l2_norm
    assert "LBFGS(memory_size=9" in result.trace.provenance["optimizer"]
    assert result.problem.initial_image(OPTIONS["key"]).max() < 0.36


def test_losses_that_do_not_fit_what_a_partial_model_selects_are_passed_over(texture, model):
    for one, scales in ((Rows(), ["mean"]), (model, [0])):
        some = functools.partial(one, scales=scales)
        problem = plx.Metamer(texture, some)
        assert problem.loss_function is plx.loss.mse
        axes = plx.plot.plot_representation(some, some(texture))
        assert len(axes) == 1
        plt.close("all")


def test_models_that_say_nothing_get_the_defaults_of_plenoptic(texture):
    result = plx.metamer(texture, jnp.sin, **OPTIONS)
    assert result.problem.loss_function is plx.loss.mse
    start = result.problem.initial_image(OPTIONS["key"])
    np.testing.assert_array_equal(start, jax.random.uniform(OPTIONS["key"], texture.shape))
    assert "amsgrad" in result.trace.provenance["optimizer"]
    assert result.trace.terms == {}


def test_groups_of_a_dictionary_are_its_arrays_or_named_in_each(rng):
    class Layers(eqx.Module):
        statistic_groups: ClassVar = {"early": ("mean",) * 2 + ("square",) * 3}

        def __call__(self, image):
            values = jnp.concatenate([image[0, :2], image[0, 2:5] ** 2])
            return {"late": image.sum(), "early": jnp.stack([values[:, 0], values[:, 1]])}

    model, images = Layers(), jnp.asarray(rng.random((9, 1, 6, 6)), jnp.float32)
    target, found = model(images[0]), model(images[1])
    groups = judge(model, found, target, plx.null(images, model))
    assert {name: group.size for name, group in groups.items()} == {
        "early/mean": 4,
        "early/square": 6,
        "late": 1,
    }
    difference = np.asarray(found["early"] - target["early"])
    for name, part in {"early/mean": np.s_[:, :2], "early/square": np.s_[:, 2:]}.items():
        expected = np.linalg.norm(difference[part]) / np.linalg.norm(target["early"][part])
        assert groups[name].relative_error == pytest.approx(expected, rel=1e-5)
    assert list(judge(lambda image: image, found, target, None)) == ["early", "late"]
