import inspect
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plenoptax.models import (
    CenterSurround,
    Gaussian,
    Identity,
    Linear,
    LinearNonlinear,
    LuminanceContrastGainControl,
    LuminanceGainControl,
    OnOff,
)
from plenoptax.process import disk


REFERENCE = Path(__file__).parents[1] / "reference" / "frontend.npz"
MODELS = (LinearNonlinear, LuminanceGainControl, LuminanceContrastGainControl, OnOff)
RANDOM = MODELS[1:]

# As in reference/make_frontend.py, with any key.
CASES = {
    "ln": (LinearNonlinear, {"kernel_size": 31, "pretrained": True}),
    "lg": (LuminanceGainControl, {"kernel_size": 31, "pretrained": True}),
    "lgg": (LuminanceContrastGainControl, {"kernel_size": 31, "pretrained": True}),
    "on_off": (OnOff, {"kernel_size": 31, "pretrained": True, "apply_mask": True}),
    "off": (LuminanceContrastGainControl, {"kernel_size": (8, 5), "on_center": False}),
    "even": (OnOff, {"kernel_size": 6, "amplitude_ratio": 2.0, "pad_mode": "circular"}),
    "center_surround": (
        CenterSurround,
        {
            "kernel_size": (7, 10),
            "on_center": [True, False, False],
            "center_std": [0.5, 1.0, 2.0],
            "surround_std": [4.0, 1.5, 30.0],
            "pad_mode": "replicate",
        },
    ),
}
SCALARS = {"luminance_scalar": [3.0, 8.0], "contrast_scalar": [7.0, 20.0]}

# Table 2 of Berardino (2018), for one channel or for on and off.
TABLE = {
    LinearNonlinear: {
        "center_surround.center_std": [0.5339],
        "center_surround.surround_std": [6.148],
    },
    LuminanceGainControl: {
        "center_surround.center_std": [1.962],
        "center_surround.surround_std": [4.235],
        "luminance.std": [4.235],
        "luminance_scalar": [14.95],
    },
    LuminanceContrastGainControl: {
        "center_surround.center_std": [0.7363],
        "center_surround.surround_std": [48.37],
        "luminance.std": [170.99],
        "luminance_scalar": [2.94],
        "contrast.std": [2.658],
        "contrast_scalar": [34.03],
    },
    OnOff: {
        "center_surround.center_std": [1.237, 0.3233],
        "center_surround.surround_std": [30.12, 2.184],
        "luminance.std": [76.4, 2.184],
        "luminance_scalar": [3.2637, 14.3961],
        "contrast.std": [7.49, 2.43],
        "contrast_scalar": [7.3405, 16.7423],
    },
}


@eqx.filter_jit
def respond(model, image):
    return model(image)


@eqx.filter_jit
def respond_and_pull_back(model, image, direction):
    """The response, and the gradient of the response along a direction by model and image."""
    response, pull_back = eqx.filter_vjp(lambda model, image: model(image), model, image)
    return response, *pull_back(direction)


def make(kind, arguments):
    if kind is CenterSurround or arguments.get("pretrained"):
        return kind(**arguments)
    model = kind(**arguments, key=jax.random.key(0))
    for name, values in SCALARS.items():
        values = jnp.asarray(values[: len(getattr(model, name))])
        model = eqx.tree_at(lambda m, name=name: getattr(m, name), model, values)
    return model


def assert_close_to_largest(actual, expected, tolerance):
    assert actual.shape == expected.shape
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * abs(expected).max())


def named_parameters(model):
    leaves = jax.tree_util.tree_leaves_with_path(eqx.filter(model, eqx.is_array))
    return {jax.tree_util.keystr(path)[1:]: leaf for path, leaf in leaves}


@pytest.mark.parametrize("case", CASES)
def test_front_end_equals_plenoptic(case, x64):
    with np.load(REFERENCE) as reference:
        image, direction = reference["image"], reference["direction"]
        expected, expected_gradient = reference[case], reference[f"{case}_gradient"]
    model, direction = make(*CASES[case]), direction[: len(expected)]
    # plenoptic rounds the pretrained values to float32.
    image, direction = jnp.asarray(image), jnp.asarray(direction)
    response, _, gradient = respond_and_pull_back(model, image, direction)
    assert_close_to_largest(response, expected, 2e-7)
    assert_close_to_largest(gradient, expected_gradient, 2e-7)
    single = respond(model, image.astype(jnp.float32))
    assert single.dtype == jnp.float32
    assert_close_to_largest(single, expected, 2e-6)


def images(rng):
    rows, columns = np.mgrid[:33, :40]
    smooth = 0.5 + 0.4 * np.sin(rows / 5) * np.cos(columns / 4)
    return {
        "noise": rng.random((33, 40)),
        "edge": np.where(columns < 19, 0.1, 0.9) + 0.01 * rng.random((33, 40)),
        "faint": 0.3 + 1e-4 * rng.random((33, 40)),
        "dark": 1e-4 * smooth,
        "smooth": smooth,
    }


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore:pretrained")
@pytest.mark.parametrize("pad_mode", ["reflect", "replicate", "circular", "constant"])
@pytest.mark.parametrize("kind", MODELS)
def test_pretrained_model_equals_plenoptic_side_by_side(kind, pad_mode, rng, x64):
    po, torch = pytest.importorskip("plenoptic"), pytest.importorskip("torch")
    theirs = getattr(po.models, kind.__name__)(31, pretrained=True, pad_mode=pad_mode).double()
    ours = kind(31, pretrained=True, pad_mode=pad_mode)
    for name, parameter in theirs.state_dict().items():
        # Their exact values, so that nothing but the formulas can differ.
        values = jnp.asarray(parameter.numpy().reshape(named_parameters(ours)[name].shape))
        ours = eqx.tree_at(lambda m, n=name: attribute(m, n), ours, values)
    for label, image in images(rng).items():
        x = torch.tensor(image[None, None], requires_grad=True)
        response = theirs(x)[0]
        direction = rng.standard_normal(response.shape)
        theirs.zero_grad()
        (response * torch.tensor(direction)).sum().backward()
        found, by_parameters, by_image = respond_and_pull_back(
            ours, jnp.asarray(image)[None], jnp.asarray(direction)
        )
        assert_close_to_largest(found, response.detach().numpy(), 1e-12)
        # In float64, too, faint images amplify rounding: their responses to it are larger.
        tolerance = 1e-8 if label in ("faint", "dark") else 1e-10
        assert_close_to_largest(by_image, x.grad[0].numpy(), tolerance)
        gradients = named_parameters(by_parameters)
        for name, parameter in theirs.named_parameters():
            np.testing.assert_allclose(gradients[name], parameter.grad.numpy(), rtol=1e-6)


def attribute(model, name):
    for part in name.split("."):
        model = getattr(model, part)
    return model


@pytest.mark.parametrize("kind", MODELS)
def test_pretrained_parameters_are_those_of_the_table(kind):
    found = named_parameters(kind(31, pretrained=True))
    assert found.pop("center_surround.amplitude_ratio") == 1.25
    assert found.keys() == TABLE[kind].keys()
    for name, values in TABLE[kind].items():
        np.testing.assert_allclose(found[name], values, rtol=1e-7)


def test_parameters_are_set_by_name_and_trace_nothing_anew(rng, x64):
    traced = eqx.filter_jit(eqx.debug.assert_max_traces(lambda m, x: m(x), max_traces=1))
    image = jnp.asarray(rng.random((1, 20, 23)))
    model = LuminanceGainControl(31, key=jax.random.key(0))
    for name, values in TABLE[LuminanceGainControl].items():
        before = traced(model, image)
        model = eqx.tree_at(lambda m, n=name: attribute(m, n), model, jnp.asarray(values))
        assert np.max(np.abs(traced(model, image) - before)) > 1e-4
    expected = traced(LuminanceGainControl(31, pretrained=True), image)
    np.testing.assert_array_equal(traced(model, image), expected)


def test_simpler_models_are_special_cases(rng, x64):
    image = jnp.asarray(rng.random((1, 20, 23)))
    arguments = {"kernel_size": 9, "pad_mode": "circular", "activation": jnp.tanh}
    on_off = OnOff(**arguments, key=jax.random.key(3))
    scalars = on_off.luminance_scalar[1:], on_off.contrast_scalar[1:]
    arguments["on_center"] = False
    contrast = LuminanceContrastGainControl(**arguments, key=jax.random.key(4))
    contrast = eqx.tree_at(lambda m: (m.luminance_scalar, m.contrast_scalar), contrast, scalars)
    luminance = LuminanceGainControl(**arguments, key=jax.random.key(5))
    luminance = eqx.tree_at(lambda m: m.luminance_scalar, luminance, scalars[0])
    linear = LinearNonlinear(**arguments)

    np.testing.assert_allclose(respond(contrast, image), respond(on_off, image)[1:], rtol=1e-12)
    contrast = eqx.tree_at(lambda m: m.contrast_scalar, contrast, jnp.zeros(1))
    np.testing.assert_allclose(respond(contrast, image), respond(luminance, image), rtol=1e-12)
    luminance = eqx.tree_at(lambda m: m.luminance_scalar, luminance, jnp.zeros(1))
    np.testing.assert_allclose(respond(luminance, image), respond(linear, image), rtol=1e-12)
    filtered = np.asarray(respond(linear.center_surround, image))
    np.testing.assert_allclose(respond(linear, image), np.tanh(filtered), rtol=1e-12)
    assert not any(callable(leaf) for leaf in jax.tree.leaves(on_off))


def test_gain_control_hardly_sees_the_illumination(rng):
    image = jnp.asarray(0.5 + 0.3 * rng.random((1, 40, 40)), jnp.float32)
    model = LuminanceGainControl(31, pretrained=True, activation=jnp.asarray)
    change = respond(model, 2 * image) - respond(model, image)
    assert np.max(np.abs(change)) < 0.1 * np.max(np.abs(respond(model, image)))
    linear = LinearNonlinear(31, pretrained=True, activation=jnp.asarray)
    np.testing.assert_allclose(respond(linear, 2 * image), 2 * respond(linear, image), rtol=1e-5)


DIFFERENTIATED = {
    "luminance gain": (lambda: LuminanceGainControl(31, pretrained=True), 128),
    "on and off": (lambda: OnOff(31, pretrained=True), 128),
    "on and off by FFT": (lambda: OnOff(31, pretrained=True), 0),
    "linear nonlinear": (lambda: LinearNonlinear(31, pretrained=True), 128),
    "contrast gain": (lambda: LuminanceContrastGainControl(31, pretrained=True), 128),
    "center surround": (lambda: CenterSurround(31, on_center=[True, False]), 128),
    "linear": (Linear, 128),
    "blur": (lambda: Gaussian(31), 128),
    "identity": (Identity, 128),
}


@pytest.mark.parametrize("name", DIFFERENTIATED)
def test_value_and_gradients_are_finite(name, monkeypatch, rng):
    make_model, most_taps = DIFFERENTIATED[name]
    # At 0 filters are applied by FFT, as long windows are, whose rounding has any sign.
    monkeypatch.setattr("plenoptax.process._separable._MOST_TAPS", most_taps)
    noise = rng.random((32, 32))
    columns = np.arange(32)[None]
    shown = {
        "black": np.zeros((32, 32)),
        "gray": np.full((32, 32), 0.5),
        "checkerboard": np.indices((32, 32)).sum(0) % 2,
        "half black": noise * (columns < 16),
        "point": np.eye(32)[:, 16:17] * (columns == 3),
        "tiny": 1e-30 * noise,
    }
    # Compiled here, because the limit is no argument of a compiled function.
    evaluate = eqx.filter_jit(
        eqx.filter_value_and_grad(lambda both: jnp.sum(jnp.sin(9 * both[0](both[1]))))
    )
    model = make_model()
    for label, image in shown.items():
        found = evaluate((model, jnp.asarray(image, jnp.float32)[None]))
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(found)), label


@pytest.mark.parametrize("kind", MODELS)
def test_constant_images_give_the_activation_of_zero(kind):
    response = respond(kind(31, pretrained=True), jnp.full((1, 24, 24), 0.7))
    np.testing.assert_allclose(response, np.log(2), atol=2e-6)


def test_mask_multiplies_the_response(rng):
    image = jnp.asarray(rng.random((1, 16, 20)), jnp.float32)
    plain, masked = (
        respond(OnOff(31, pretrained=True, apply_mask=m), image) for m in (False, True)
    )
    np.testing.assert_allclose(masked, plain * np.asarray(disk((16, 20)))[None], atol=1e-7)
    assert np.all(np.asarray(masked)[:, 0, 0] == 0)
    assert np.all(np.asarray(plain) > 0)


def test_one_kernel_size_is_both():
    for kind in RANDOM:
        one, both = (kind(size, key=jax.random.key(1)) for size in (7, (7, 7)))
        assert eqx.tree_equal(one, both)
    assert eqx.tree_equal(*(OnOff(size, pretrained=True) for size in (31, (31, 31))))


def test_images_of_a_batch_are_mapped_over(rng):
    batch = jnp.asarray(rng.random((3, 1, 24, 24)), jnp.float32)
    model = OnOff(31, pretrained=True)
    responses = eqx.filter_jit(eqx.filter_vmap(model))(batch)
    assert responses.shape == (3, 2, 24, 24)
    np.testing.assert_allclose(responses[1], respond(model, batch[1]), atol=1e-6)


@pytest.mark.parametrize("kind", RANDOM)
def test_key_draws_the_scalars(kind):
    scalars = []
    for seed in range(12):
        found = named_parameters(kind(5, key=jax.random.key(seed)))
        scalars.append(np.concatenate([v for k, v in found.items() if k.endswith("scalar")]))
        assert found["luminance.std"][0] == 3.0
    again = named_parameters(kind(5, key=jax.random.key(11)))
    assert again["luminance_scalar"][0] in scalars[11]
    assert np.min(scalars) >= 0
    assert np.max(scalars) <= 10
    assert np.unique(scalars).size == np.size(scalars)
    np.testing.assert_allclose(np.mean(scalars), 5, atol=1.5)


@pytest.mark.parametrize("kind", RANDOM)
def test_scalars_need_a_key_or_a_fit(kind):
    with pytest.raises(ValueError, match=r"key=jax.random.key\(0\), or pretrained=True"):
        kind(31)


@pytest.mark.parametrize("kind", MODELS)
def test_pretrained_values_go_with_one_filter(kind):
    with pytest.raises(ValueError, match="kernel_size must be 31 with pretrained=True, got 7"):
        kind(7, pretrained=True)
    with pytest.raises(ValueError, match=r"kernel_size must be 31 .* got \(31, 30\)"):
        kind((31, 30), pretrained=True)
    with pytest.raises(ValueError, match=r"amplitude_ratio must be 1.25 .* got 1.5"):
        kind(31, amplitude_ratio=1.5, pretrained=True)
    if kind is not OnOff:
        with pytest.warns(UserWarning, match="on_center=True"):
            kind(31, on_center=False, pretrained=True)


@pytest.mark.parametrize("shape", [(3, 40, 40), (40, 40), (1, 1, 40, 40)])
@pytest.mark.parametrize("kind", MODELS)
def test_other_shapes_are_refused(kind, shape, unchecked):
    with pytest.raises(ValueError, match=r"\(1, height, width\), got"):
        kind(31, pretrained=True)(jnp.zeros(shape))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kernel_size": 0}, "kernel_size"),
        ({"kernel_size": 3.5}, "kernel_size"),
        ({"kernel_size": 3, "amplitude_ratio": 0.9}, "amplitude_ratio"),
        ({"kernel_size": 3, "pad_mode": "zeros"}, "'zeros'"),
    ],
)
def test_bad_arguments_are_refused(arguments, message, unchecked):
    for kind in MODELS:
        key = {} if kind is LinearNonlinear else {"key": jax.random.key(0)}
        with pytest.raises(ValueError, match=message):
            kind(**arguments, **key)


@pytest.mark.parametrize("kind", MODELS)
def test_filters_are_displayed(kind):
    import matplotlib.pyplot as plt

    model = kind(31, pretrained=True)
    default = inspect.signature(kind.display_filters).parameters["title"].default
    titles = [default] if isinstance(default, str) else list(default)
    figure = model.display_filters()
    panels = [axes for axes in figure.axes if axes.images]
    assert [axes.get_title().splitlines()[0] for axes in panels] == titles
    parts = [getattr(model, part, None) for part in ("center_surround", "luminance", "contrast")]
    filters = np.concatenate([part.filt[:, 0] for part in parts if part is not None])
    for axes, window in zip(panels, filters, strict=True):
        np.testing.assert_array_equal(axes.images[0].get_array(), window)
        low, high = axes.images[0].get_clim()
        assert low == -high == -np.max(np.abs(window))
        assert axes.get_window_extent().width == pytest.approx(5 * 31, abs=1)
    plt.close(figure)
    figure = model.display_filters(vrange=(0, 1), zoom=2, title=None)
    panel = next(axes for axes in figure.axes if axes.images)
    assert panel.images[0].get_clim() == (0, 1)
    assert panel.get_window_extent().width == pytest.approx(62, abs=1)
    plt.close(figure)
