import jax
import jax.numpy as jnp
import numpy as np
import pytest

from plenoptax.process import (
    deviation_from_line,
    make_straight_line,
    sample_brownian_bridge,
    translation_sequence,
)


@pytest.fixture
def ends(rng):
    return [jnp.asarray(rng.random((2, 5, 4)), jnp.float32) for _ in range(2)]


def test_straight_line_has_equal_steps_and_exact_ends(ends):
    line = make_straight_line(*ends, 7)
    assert line.shape == (8, 2, 5, 4)
    np.testing.assert_array_equal(line[0], ends[0])
    np.testing.assert_array_equal(line[-1], ends[1])
    for step in jnp.diff(line, axis=0):
        np.testing.assert_allclose(step, (ends[1] - ends[0]) / 7, atol=1e-6)


def test_brownian_bridge_has_exact_ends_and_the_key_decides(ends, getkey):
    keys = getkey(), getkey()
    one, same, other = (
        sample_brownian_bridge(*ends, 5, 30.0, key=key) for key in (keys[0], keys[0], keys[1])
    )
    np.testing.assert_array_equal(one, same)
    assert abs(one - other)[1:-1].min(axis=(1, 2, 3)).all()
    for bridge in (one, other):
        np.testing.assert_array_equal(bridge[0], ends[0])
        np.testing.assert_array_equal(bridge[-1], ends[1])


def test_brownian_bridge_has_the_stated_standard_deviation(getkey):
    shape, n_steps, max_norm = (1, 20, 10), 8, 3.0
    start, stop = jnp.zeros(shape), jnp.ones(shape)
    draw = lambda key: sample_brownian_bridge(start, stop, n_steps, max_norm, key=key)  # noqa: E731
    paths = jax.jit(jax.vmap(draw))(jax.random.split(getkey(), 500))
    deviation = paths - make_straight_line(start, stop, n_steps)[None]
    t = np.arange(n_steps + 1) / n_steps
    std = 2 * max_norm * np.sqrt(t * (1 - t) / 200)
    np.testing.assert_allclose(deviation.std(axis=(0, 2, 3, 4)), std, rtol=0.02)
    np.testing.assert_allclose(deviation.mean(axis=(0, 2, 3, 4)), 0, atol=0.005)
    middle = deviation[:, n_steps // 2].reshape(500, -1)
    np.testing.assert_allclose(jnp.mean(jnp.sum(middle**2, axis=1)) ** 0.5, max_norm, rtol=0.02)
    # Increments are correlated as those of a bridge are, not as those of noise added to a line.
    covariance = jnp.mean(deviation[:, 2] * deviation[:, 6])
    np.testing.assert_allclose(covariance, 4 * max_norm**2 / 200 * t[2] * (1 - t[6]), rtol=0.1)


def test_brownian_bridge_without_noise_is_the_straight_line(ends, getkey):
    bridge = sample_brownian_bridge(*ends, 4, 0, key=getkey())
    np.testing.assert_array_equal(bridge, make_straight_line(*ends, 4))


def test_paths_keep_float64(ends, getkey, x64):
    ends = [jnp.asarray(end, jnp.float64) / 3 for end in ends]
    assert make_straight_line(*ends, 2).dtype == jnp.float64
    assert sample_brownian_bridge(*ends, 2, key=getkey()).dtype == jnp.float64
    np.testing.assert_allclose(make_straight_line(*ends, 2)[1], (ends[0] + ends[1]) / 2, rtol=1e-15)


@pytest.mark.parametrize("normalize", [True, False])
def test_deviation_from_line_of_a_known_path(normalize):
    sequence = jnp.asarray([[1.0, 1.0], [3.0, 3.0], [5.0, -2.0], [5.0, 1.0]])[:, None, None, :]
    along, away = deviation_from_line(sequence, normalize)
    length = 4 if normalize else 1
    np.testing.assert_allclose(along, np.array([0, 2, 4, 4]) / length, atol=1e-6)
    np.testing.assert_allclose(away, np.array([0, 2, 3, 0]) / length, atol=1e-6)


def test_deviation_from_line_obeys_pythagoras(rng, x64):
    sequence = jnp.asarray(rng.standard_normal((6, 1, 4, 5)))
    along, away = deviation_from_line(sequence, normalize=False)
    distance = jnp.linalg.norm((sequence - sequence[:1]).reshape(6, -1), axis=1)
    np.testing.assert_allclose(jnp.hypot(along, away), distance, rtol=1e-12)
    normalized = deviation_from_line(sequence)
    np.testing.assert_allclose(normalized[0], along / distance[-1], rtol=1e-12)
    np.testing.assert_allclose(normalized[1], away / distance[-1], rtol=1e-12, atol=1e-15)


def test_deviation_from_line_is_finite_where_there_is_no_line(ends):
    evaluate = jax.jit(
        jax.value_and_grad(lambda x: sum(jnp.sum(part) for part in deviation_from_line(x)))
    )
    loop = jnp.stack([ends[0], ends[1], ends[0]])
    along, away = deviation_from_line(loop)
    np.testing.assert_array_equal(along, 0)
    np.testing.assert_allclose(away[1], jnp.linalg.norm((ends[1] - ends[0]).ravel()), rtol=1e-6)
    straight = make_straight_line(jnp.zeros((2, 5, 4)), jnp.ones((2, 5, 4)), 2)
    for path in (loop, jnp.zeros_like(loop), straight):
        value, gradient = evaluate(path)
        assert jnp.isfinite(value)
        assert jnp.isfinite(gradient).all()


def test_translation_moves_right_and_around(rng):
    image = jnp.asarray(rng.random((3, 4, 6)), jnp.float32)
    sequence = translation_sequence(image, 6)
    assert sequence.shape == (7, 3, 4, 6)
    np.testing.assert_array_equal(sequence[0], image)
    np.testing.assert_array_equal(sequence[6], image)
    np.testing.assert_array_equal(sequence[2][..., 2:], image[..., :-2])
    np.testing.assert_array_equal(sequence[2][..., :2], image[..., -2:])
    assert translation_sequence(image).shape[0] == 11


def test_paths_refuse(ends, getkey, unchecked):
    with pytest.raises(ValueError, match="n_steps must be a whole number, at least 1, got 0"):
        make_straight_line(*ends, 0)
    with pytest.raises(ValueError, match="n_steps must be a whole number, at least 1, got -1"):
        translation_sequence(ends[0], -1)
    with pytest.raises(ValueError, match=r"\(2, 5, 4\) and \(2, 5, 3\)"):
        make_straight_line(ends[0], ends[1][..., :3], 2)
    with pytest.raises(ValueError, match="max_norm must be a finite number at least 0, got -1"):
        sample_brownian_bridge(*ends, 2, -1, key=getkey())
    with pytest.raises(ValueError, match="two or more images"):
        deviation_from_line(ends[0][:1])
