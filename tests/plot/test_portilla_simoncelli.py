import matplotlib.pyplot as plt
import numpy as np
import pytest

from plenoptax import models
from plenoptax.plot import plot_representation, update_plot
from plenoptax.plot._portilla_simoncelli import plot_portilla_simoncelli


class Layout:
    """Cuts a vector into groups of the shapes of the texture statistics, with gaps."""

    def __init__(self, scales=3, orientations=2, shifts=5):
        bands, both = (orientations, scales), (orientations, orientations)
        self.shapes = {
            "pixel_statistics": (6,),
            "auto_correlation_magnitude": (shifts, shifts, *bands),
            "skew_reconstructed": (scales + 1,),
            "kurtosis_reconstructed": (scales + 1,),
            "auto_correlation_reconstructed": (shifts, shifts, scales + 1),
            "std_reconstructed": (scales + 1,),
            "cross_orientation_correlation_magnitude": (*both, scales),
            "magnitude_std": bands,
            "cross_scale_correlation_magnitude": (*both, scales - 1),
            "cross_scale_correlation_real": (orientations, 2 * orientations, scales - 1),
            "var_highpass_residual": (1,),
        }
        self.size = sum(int(np.prod(shape)) for shape in self.shapes.values())

    def convert_to_dict(self, vector):
        stops = np.cumsum([np.prod(shape) for shape in self.shapes.values()])[:-1]
        parts = np.split(np.asarray(vector), stops.astype(int), axis=-1)
        groups = {
            name: part.reshape(len(part), *shape)
            for (name, shape), part in zip(self.shapes.items(), parts, strict=True)
        }
        groups["auto_correlation_reconstructed"][:, 0] = np.nan
        return groups


def stems(axes):
    return np.asarray(axes.containers[0].markerline.get_ydata())


@pytest.mark.parametrize(("scales", "count"), [(1, 6), (2, 8), (4, 8)])
def test_plot_portilla_simoncelli_number_of_axes(scales, count, rng):
    model = Layout(scales)
    figure, axes = plot_portilla_simoncelli(model, rng.random((1, model.size)))
    assert len(axes) == count
    assert all(one.figure is figure for one in axes)


def test_plot_portilla_simoncelli_stems(rng):
    model = Layout()
    vector = rng.standard_normal((1, model.size))
    groups = {name: values[0] for name, values in model.convert_to_dict(vector).items()}
    _, axes = plot_portilla_simoncelli(model, vector)
    shown = {one.get_title().replace("\n", "_"): stems(one) for one in axes}
    np.testing.assert_allclose(
        shown["pixels + var_highpass"],
        [*groups["pixel_statistics"], *groups["var_highpass_residual"]],
    )
    np.testing.assert_allclose(
        shown["std + skew + kurtosis_reconstructed"],
        np.concatenate([groups[f"{name}_reconstructed"] for name in ("std", "skew", "kurtosis")]),
    )
    np.testing.assert_allclose(shown["magnitude_std"], groups["magnitude_std"].ravel())
    for name in (
        "auto_correlation_reconstructed",
        "auto_correlation_magnitude",
        "cross_orientation_correlation_magnitude",
        "cross_scale_correlation_magnitude",
        "cross_scale_correlation_real",
    ):
        present = np.where(np.isnan(groups[name]), 0, groups[name])
        norms = np.linalg.norm(present.reshape(-1, *present.shape[2:]), axis=0)
        np.testing.assert_allclose(shown[name], norms.ravel())


def test_the_texture_model_plots_and_updates_its_statistics(rng):
    model = models.PortillaSimoncelli((32, 32), 2, 2, spatial_corr_width=5)
    first, second = rng.standard_normal((2, 1, model.num_statistics))
    axes = plot_representation(model, first, title="statistics", figsize=(9, 7))
    _, wanted = plot_portilla_simoncelli(model, second)
    assert [one.get_title() for one in axes] == [one.get_title() for one in wanted]
    assert len(update_plot(axes, second, model)) == len(axes) == 8
    for one, other in zip(axes, wanted, strict=True):
        np.testing.assert_array_equal(stems(one), stems(other))
    with pytest.raises(ValueError, match="data must be a representation"):
        plot_representation(model)


def test_plot_portilla_simoncelli_channels_and_batches(rng):
    model = Layout()
    batch = rng.random((2, 3, model.size))

    def pixels(data, **options):
        return stems(plot_portilla_simoncelli(model, data, **options)[1][0])[:6]

    np.testing.assert_allclose(pixels(batch[0]), batch[0, :, :6].mean(0))
    np.testing.assert_allclose(pixels(batch[0], channel_idx=2), batch[0, 2, :6])
    np.testing.assert_allclose(pixels(batch, batch_idx=1, channel_idx=0), batch[1, 0, :6])
    np.testing.assert_allclose(pixels(batch[1, 1]), batch[1, 1, :6])


def test_plot_portilla_simoncelli_in_axes_with_limits_and_title(rng):
    model = Layout()
    _, (left, right) = plt.subplots(1, 2, figsize=(14, 5))
    _, axes = plot_portilla_simoncelli(
        model, rng.random((1, model.size)), right, ylim=(-2, 2), title="error"
    )
    assert all(one.get_ylim() == (-2, 2) for one in axes)
    assert right.get_title() == "error"
    assert not left.has_data()


def test_plot_portilla_simoncelli_panels_are_whole_and_apart(rng):
    model = Layout(4, 4, 7)
    figure, axes = plot_portilla_simoncelli(
        model, rng.standard_normal((1, model.size)), title="statistics"
    )
    figure.canvas.draw()
    boxes = [one.get_tightbbox() for one in axes]
    for box in boxes:
        assert 0 <= box.x0 < box.x1 <= figure.bbox.x1
        assert 0 <= box.y0 < box.y1 <= figure.bbox.y1
    assert not any(boxes[i].overlaps(boxes[j]) for i in range(8) for j in range(i + 1, 8))


def test_plot_portilla_simoncelli_refuses(rng):
    model = Layout()
    with pytest.raises(ValueError, match="Only one of ax= and figsize="):
        plot_portilla_simoncelli(
            model, np.zeros(model.size), plt.figure().add_subplot(), figsize=(3, 3)
        )
    with pytest.raises(ValueError, match="batch_idx must be between -2 and 1, got 2"):
        plot_portilla_simoncelli(model, np.zeros((2, 1, model.size)), batch_idx=2)
    with pytest.raises(ValueError, match="channel_idx must be between -2 and 1, got 3"):
        plot_portilla_simoncelli(model, np.zeros((2, model.size)), channel_idx=3)
    with pytest.raises(ValueError, match="data must have the shape"):
        plot_portilla_simoncelli(model, np.zeros((1, 1, 1, model.size)))


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("scales", [1, 3])
def test_plot_portilla_simoncelli_stems_equal_those_of_plenoptic(scales, rng):
    plenoptic = pytest.importorskip("plenoptic")
    torch = pytest.importorskip("torch")
    theirs = plenoptic.models.PortillaSimoncelli((64, 64), scales, 2, 5)
    vector = theirs(torch.from_numpy(rng.random((1, 2, 64, 64))))

    class Ours:
        def convert_to_dict(self, vector):
            groups = theirs.convert_to_dict(torch.from_numpy(vector)[None])
            return {name: values[0].numpy() for name, values in groups.items()}

    _, ours = plot_portilla_simoncelli(Ours(), vector[0].numpy())
    for one, other in zip(ours, theirs.plot_representation(vector)[1], strict=True):
        np.testing.assert_allclose(stems(one), stems(other), rtol=1e-6)
