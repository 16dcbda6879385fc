"""Write `docs/printed_numbers.md`: numbers that plenoptic's documentation prints, beside ours.

python tools/write_printed_numbers.py

Needs plenoptic 2.1.1 for its photographs, and nothing else from it. Each number has a tolerance
that was fixed before the script ran: half a unit of the last printed digit, or as stated here.
"""

import functools
import io
import pathlib

import imageio.v3 as iio
import jax
import jax.numpy as jnp
import numpy as np
import plenoptic.data

import plenoptax as plx


PAGE = pathlib.Path(__file__).resolve().parents[1] / "docs/printed_numbers.md"
HEAD = """\
# Printed numbers

These are numbers that plenoptic's documentation prints, with those that plenoptax computes from
the same photographs. A tolerance was fixed for each number before it was computed: half a unit of
the last printed digit, or more where plenoptic's run had not converged. `python
tools/write_printed_numbers.py` wrote this page; it needs plenoptic for the photographs.

| page on | number | printed | ours | difference | tolerance | |
| --- | --- | --- | --- | --- | --- | --- |
"""
TAIL = """

## Numbers that cannot be compared

- **Losses after many steps** of metamers, geodesics and competitions: they depend on random
  numbers of torch, on the number of threads, and on rounding that an optimization amplifies. The
  short run in the table starts from the random numbers of torch's generator, which NumPy has too.
- **Competitions of SSIM and MSE:** plenoptic holds a metric by a penalty, and its printed values
  are those of images at which the metric is not held exactly. plenoptax holds it, so its values
  are others. [Maximum differentiation competition](notebooks/mad.md) shows both metrics.
- **Responses of OnOff with the 7 x 7 filter:** its gains are random in plenoptic and are not
  printed.
- **Texture statistics and losses of the figures of Portilla and Simoncelli (2000), the results of
  Wang and Simoncelli (2008) in MATLAB, TID2013:** their files are downloads that are not part of
  plenoptic.
- **ResNet18 and VGG16, FashionMNIST:** their weights and images are downloads too.
- **Progress bars and messages:** plenoptax prints others.
"""


def photograph(name):
    """A photograph of plenoptic, of shape (channel, height, width)."""
    return jnp.asarray(getattr(plenoptic.data, name)()[0].numpy())


def torch_uniform(count):
    """Images of the stream of torch's generator from the seed 0, one after another."""
    words = np.random.RandomState(0).randint(0, 2**32, count * 256**2, dtype=np.uint32)
    return np.float32((words & 0xFFFFFF) * 2.0**-24).reshape(count, 1, 256, 256)


def metamers():
    """The numbers of the page on the class `Metamer`."""
    image, model = photograph("einstein"), plx.models.Gaussian(30)
    noise = jnp.asarray(torch_uniform(3))
    problem = plx.Metamer(image, model)
    value = problem.objective_function
    yield "smallest pixel of uniform noise", 7.9870e-06, noise[2].min(), 5e-11
    yield "objective of uniform noise", 0.0190, value(noise[2]), 5e-5
    doubled = 2 * noise[2]
    yield "objective of the doubled noise", 1100.9663, value(doubled), 1e-3
    yield "its loss", 0.3133, problem.loss_function(model(doubled), problem.target), 5e-5
    yield "its penalty", 11006.5293, plx.regularize.penalize_range(doubled), 1e-2
    run = plx.metamer(image, model, initial_image=noise[1], max_steps=5, progress=False)
    for step, loss in enumerate([0.0194, 0.0198, 0.0179, 0.0160, 0.0145, 0.0132]):
        yield f"loss at step {step}", loss, run.trace.losses[step], 5e-5
    yield "gradient norm at step 0", 0.0010, run.trace.gradient_norm[0], 5e-5
    yield "pixel change at step 0", 2.5326, run.trace.pixel_change_norm[0], 5e-4
    yield "penalty at step 4", 0.0180, run.trace.penalties[4], 5e-5
    yield "pixel change at step 4", 2.2698, run.trace.pixel_change_norm[4], 5e-4


def competitions():
    """The analytic numbers of the page with two pixels: ratios, which do not depend on the seed."""
    gray = jnp.full((1, 1, 2), 0.5)
    start = gray + jnp.array([[[0.12, -0.032]]])

    def l1(x, y):
        return jnp.sum(jnp.abs(x - y))

    found = plx.mad_competition_set(
        gray, l1, plx.loss.l2_norm, initial_image=start, max_steps=500, progress=False
    )
    ratios = {
        name: result.trace.terms["optimized_metric"][-1]
        / result.trace.terms["reference_metric"][-1]
        for name, result in found._asdict().items()
    }
    # The printed runs ended before they converged; the ratios hold their metrics to 1e-3.
    yield "two pixels: least L2 over L1", 1.0816 / 1.5296, ratios["metric2_min"], 1e-3
    yield "two pixels: least L1 over L2", 1.2639 / 1.2638, ratios["metric1_min"], 1e-3
    yield "two pixels: most L2 over L1", 1.5304 / 1.5305, ratios["metric2_max"], 1e-3
    yield "two pixels: most L1 over L2", 1.7891 / 1.2651, ratios["metric1_max"], 1e-3


def statistics():
    """The counts of the texture model."""
    model = plx.models.PortillaSimoncelli((256, 256), spatial_corr_width=9)
    image = photograph("reptile_skin")
    yield "texture statistics, width 9", 1046, model(image).size, 0
    yield "of them at scale 0", 261, model(image, scales=[0]).size, 0
    model = plx.models.PortillaSimoncelli((256, 256), spatial_corr_width=7)
    groups = model.statistic_groups
    count = {name: groups.count(name) for name in dict.fromkeys(groups)}
    magnitudes = sum(count[name] for name in count if "correlation_magnitude" in name)
    # The paper counts the variance of each band with its correlations.
    yield "texture statistics, width 7", 710, len(groups), 0
    yield "magnitude statistics", 472, magnitudes + count["magnitude_std"], 0
    yield (
        "correlations",
        125,
        count["auto_correlation_reconstructed"] + count["std_reconstructed"],
        0,
    )
    yield "phase statistics", 96, count["cross_scale_correlation_real"], 0
    means = plx.models.PortillaSimoncelli((256, 256), magnitude_means=True)
    yield "added by mean magnitudes", 16, means.num_statistics - len(groups), 0


def pyramids():
    """The pages on the steerable pyramid and on figures."""
    image = photograph("curie")
    pyramid = plx.process.SteerablePyramidFreq((256, 256), height=4, order=3)
    bands = [band.reshape(-1, *band.shape[-2:]) for band in pyramid(image).values()]
    yield "bands at height 4, order 3", 18, sum(map(len, bands)), 0
    for split, maps in ((True, 26), (False, 14)):
        full = plx.process.SteerablePyramidFreq(
            (256, 256), height=3, order=3, is_complex=True, downsample=False
        )
        tensor, _ = full.convert_pyr_to_tensor(full(image[None]), split_complex=split)
        yield f"maps, complex {'split' if split else 'kept'}", maps, tensor.shape[-3], 0
    tight = plx.process.SteerablePyramidFreq((256, 256), height=3, order=3, tight_frame=True)
    energy = sum(jnp.sum(jnp.abs(band) ** 2) for band in tight(image).values())
    yield "energy of a tight frame over that of the image", 1, energy / jnp.sum(image**2), 1e-4


def metrics():
    """The page on perceptual distance."""
    gray = photograph("parrot").mean(0)
    levels = np.round(255 * np.asarray(gray)).astype(np.uint8)
    file = io.BytesIO()
    iio.imwrite(file, levels, extension=".jpg", quality=6)
    jpeg = jnp.asarray(iio.imread(file.getvalue()), jnp.float32)[None]
    original = jnp.asarray(levels, jnp.float32)[None]
    yield "SSIM of a JPEG of quality 6", 0.7703, plx.metric.ssim(original / 255, jpeg / 255), 5e-5
    image = photograph("einstein")
    for error in (2.0, 4.0, 8.0):
        noisy = plx.process.add_noise(255 * image, error, key=jax.random.key(0))
        yield f"MSE of noise of MSE {error:.0f}", error, plx.metric.mse(noisy, 255 * image), 1e-4
    yield (
        "SSIM - MS-SSIM of one scale",
        0,
        plx.metric.ssim(image, image[:, ::-1])
        - plx.metric.ms_ssim(image, image[:, ::-1], power_factors=jnp.ones(1)),
        1e-6,
    )


def eigendistortions():
    """The pages on eigendistortions."""
    matrix = jax.random.normal(jax.random.key(0), (10, 25))
    linear = functools.partial(lambda matrix, x: matrix @ x, matrix)
    found = plx.eigendistortions(jnp.ones(25), linear, method="exact", progress=False)
    yield "linear model: null dimension", 15, found.null_dimension, 0
    yield "linear model: last index", 24, found.eigenindex[-1], 0
    model = plx.models.CenterSurround(
        (31, 31),
        True,
        amplitude_ratio=1.25,
        center_std=1.962,
        surround_std=4.235,
        pad_mode="circular",
    )
    top = plx.eigendistortions(
        photograph("einstein"), model, which="top", key=jax.random.key(0), progress=False
    )
    # The exact value is the maximum of the transfer function, .644737; a power method prints less.
    yield "center-surround: largest gain", 0.6445791125297546, np.sqrt(top.eigenvalues[0]), 2e-4


def row(where, number, printed, ours, tolerance):
    """A row of the table, with whether the number agrees."""
    difference = abs(float(ours) - printed)
    verdict = "agrees" if difference <= tolerance else "**differs**"
    values = f"{printed:.8g} | {float(ours):.8g} | {difference:.1g} | {tolerance:g}"
    return f"| {where} | {number} | {values} | {verdict} |"


if __name__ == "__main__":
    rows = []
    for part in (metamers, competitions, statistics, pyramids, metrics, eigendistortions):
        where = part.__name__
        for numbers in part():
            rows.append(row(where, *numbers))
            print(rows[-1], flush=True)
    PAGE.write_text(HEAD + "\n".join(rows) + TAIL)
