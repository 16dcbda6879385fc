from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest

from plenoptax import stop


def steps_until_it_fires(rule, losses=None, changes=None):
    """The number of values that a rule has seen when it first fires; None if it never does."""
    series = losses if losses is not None else changes
    state = rule.init(jnp.zeros(()).dtype)
    for count, value in enumerate(series, start=1):
        value = jnp.asarray(value, jnp.float32)
        state = rule.update(state, SimpleNamespace(loss=value, pixel_change_norm=value))
        if bool(rule.fires(state)):
            return count
    return None


@pytest.mark.parametrize("window", [1, 2, 5])
def test_loss_change_needs_more_losses_than_its_window(window):
    assert steps_until_it_fires(stop.LossChange(0.1, window), [1.0] * 20) == window + 1


def test_loss_change_compares_losses_window_minus_one_steps_apart():
    # plenoptic's rule: with N = 5, the difference over 4 steps, first met here.
    losses = 1 / np.arange(1.0, 60.0)
    fired = steps_until_it_fires(stop.LossChange(2e-3, 5), losses)
    seen = losses[:fired]
    assert abs(seen[-5] - seen[-1]) < 2e-3
    assert abs(seen[-6] - seen[-2]) >= 2e-3


def test_relative_loss_change_does_not_depend_on_the_scale():
    losses = 1 + 1 / np.arange(1.0, 200.0)
    fired = [
        steps_until_it_fires(stop.RelativeLossChange(1e-3, 10), scale * losses)
        for scale in (1e-3, 1.0, 1e3)
    ]
    assert fired[0] is not None
    assert len(set(fired)) == 1


def test_pixel_change_wants_every_step_of_the_window_small():
    changes = [0.1] * 7 + [2.0] + [0.1] * 20
    assert steps_until_it_fires(stop.PixelChange(0.5, 5), changes=changes[:7]) == 6
    assert steps_until_it_fires(stop.PixelChange(0.5, 8), changes=changes) == 16


def test_never_never_fires_and_any_of_takes_the_first():
    assert steps_until_it_fires(stop.Never(), [1.0] * 100) is None
    both = stop.LossChange(1e-9, 50) | stop.PixelChange(0.5, 5)
    assert isinstance(both, stop.AnyOf)
    assert steps_until_it_fires(both, [0.1] * 100) == 6
    assert steps_until_it_fires(both | stop.Never(), [0.1] * 100) == 6


def test_nan_losses_fire_nothing():
    for rule in (
        stop.LossChange(1.0, 3),
        stop.RelativeLossChange(1.0, 3),
        stop.PixelChange(1.0, 3),
    ):
        assert steps_until_it_fires(rule, [np.nan] * 10) is None
