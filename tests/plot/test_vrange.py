import numpy as np
import pytest

from plenoptax.plot._vrange import color_limits, is_symmetric


# Percentiles of 0..10 are 10% of the range each; the other array is its negative, doubled.
RAMP = np.arange(11.0)
TWICE = -2 * RAMP
DEVIATION = np.sqrt(10)


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("indep0", [(-10, 10), (-20, 20)]),
        ("indep1", [(0, 10), (-20, 0)]),
        (
            "indep2",
            [(5 - 2 * DEVIATION, 5 + 2 * DEVIATION)] * 1
            + [(-10 - 4 * DEVIATION, -10 + 4 * DEVIATION)],
        ),
        ("indep3", [(0, 10), (-20, 0)]),
        ("auto0", [(-20, 20)] * 2),
        ("auto1", [(-20, 10)] * 2),
        ("auto", [(-20, 10)] * 2),
    ],
)
def test_color_limits_by_hand(mode, expected):
    np.testing.assert_allclose(color_limits([RAMP, TWICE], mode), expected, atol=1e-12)


def test_color_limits_auto2_pools_the_samples():
    # Values 0, 0, 0, 4: mean 1, variance 3.
    limits = color_limits([np.zeros((1, 3)), np.full((1, 1), 4.0)], "auto2")
    np.testing.assert_allclose(limits, [(1 - 2 * np.sqrt(3), 1 + 2 * np.sqrt(3))] * 2)


def test_color_limits_auto3_pools_the_samples():
    limits = color_limits([np.arange(6.0), np.arange(6.0, 11)], "auto3")
    np.testing.assert_allclose(limits, [(0, 10)] * 2, atol=1e-12)


def test_color_limits_mode_3_puts_percentiles_at_tenths(rng):
    values = rng.gamma(2.0, size=5000)
    [(low, high)] = color_limits([values], "indep3")
    tenth, ninetieth = np.percentile(values, [10, 90])
    np.testing.assert_allclose((tenth - low) / (high - low), 0.1)
    np.testing.assert_allclose((ninetieth - low) / (high - low), 0.9)


def test_color_limits_pair_is_taken_as_it_is():
    assert color_limits([RAMP, TWICE], (-1, 3)) == [(-1.0, 3.0)] * 2


def test_color_limits_skip_what_is_not_finite():
    values = np.array([np.nan, -1.0, 2.0, np.inf])
    assert color_limits([values], "indep1") == [(-1.0, 2.0)]
    assert color_limits([np.full(3, np.nan)], "indep2") == [(0.0, 1.0)]


@pytest.mark.parametrize("mode", ["auto0", "auto1", "indep2", "indep3"])
@pytest.mark.parametrize("value", [0.0, 0.5])
def test_color_limits_of_a_constant_are_around_it(mode, value):
    [(low, high)] = color_limits([np.full((4, 4), value)], mode)
    assert low < value < high or (mode == "auto0" and high == value == -low)


@pytest.mark.parametrize("vrange", ["auto4", "indep", "Auto1", "", "1"])
def test_color_limits_refuse_unknown_modes(vrange):
    with pytest.raises(ValueError, match="vrange must be 'auto0' to 'auto3'"):
        color_limits([RAMP], vrange)


@pytest.mark.parametrize("vrange", [(0,), (1, 0), (1, 1), (0, np.inf), (0, 1, 2)])
def test_color_limits_refuse_pairs_that_do_not_increase(vrange):
    with pytest.raises(ValueError, match="two finite numbers, the smaller one first"):
        color_limits([RAMP], vrange)


def test_is_symmetric_for_modes_0_only():
    modes = [f"{kind}{digit}" for kind in ("auto", "indep") for digit in range(4)]
    assert [mode for mode in modes if is_symmetric(mode)] == ["auto0", "indep0"]
    assert not is_symmetric((-1, 1))


@pytest.mark.parity
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("digit", [0, 1, 2, 3])
@pytest.mark.parametrize("kind", ["auto", "indep"])
def test_color_limits_equal_those_of_plenoptic(kind, digit, rng):
    plenoptic = pytest.importorskip("plenoptic")
    torch = pytest.importorskip("torch")
    images = rng.gamma(2.0, size=(2, 1, 32, 24)) - 1
    images[1] *= 3
    figure = plenoptic.plot.imshow(torch.from_numpy(images), vrange=f"{kind}{digit}")
    theirs = [axes.images[0].get_clim() for axes in figure.axes]
    np.testing.assert_allclose(color_limits(list(images), f"{kind}{digit}"), theirs, rtol=1e-6)
