from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from plenoptax.process import disk, polar_angle, polar_radius


REFERENCE = Path(__file__).parents[1] / "reference" / "steerable_pyramid.npz"


def test_polar_radius_is_the_distance_from_the_center(x64):
    radius = polar_radius((5, 8))
    rows, columns = np.indices((5, 8))
    np.testing.assert_allclose(radius, np.hypot(rows - 2, columns - 3.5), rtol=1e-15)
    np.testing.assert_array_equal(polar_radius(6), polar_radius((6, 6)))


def test_polar_radius_powers_and_origin():
    radius = polar_radius((4, 6), origin=(1, 2))
    assert radius[0, 1] == 0
    np.testing.assert_allclose(polar_radius((4, 6), 3, (1, 2)), radius**3, rtol=1e-6)
    inverse = polar_radius((4, 6), -1, (1, 2))
    assert inverse[0, 1] == 0
    np.testing.assert_allclose(inverse[1:] * radius[1:], 1, rtol=1e-6)
    np.testing.assert_array_equal(polar_radius((4, 6), 0, (1, 2)), 1)
    np.testing.assert_array_equal(polar_radius(3, origin=2), polar_radius(3))


def test_polar_angle_directions():
    clockwise = polar_angle(3)
    quarter = np.pi / 4
    expected = [[-3, -2, -1], [-4, 0, 0], [3, 2, 1]]
    np.testing.assert_allclose(clockwise, quarter * np.array(expected), atol=1e-6)
    np.testing.assert_allclose(
        polar_angle(3, direction="counter-clockwise"), clockwise[::-1], atol=1e-6
    )


@pytest.mark.parametrize("phase", [0.3, -2, 4.0])
def test_polar_angle_phase_rotates(phase):
    angle, turned = polar_angle((6, 7)), polar_angle((6, 7), phase)
    np.testing.assert_allclose(jnp.cos(turned), jnp.cos(angle - phase), atol=1e-5)
    np.testing.assert_allclose(jnp.sin(turned), jnp.sin(angle - phase), atol=1e-5)
    assert (turned >= -np.pi - 1e-6).all()
    assert (turned < np.pi).all()


def test_polar_angle_refuses_directions(unchecked):
    with pytest.raises(ValueError, match="anticlockwise"):
        polar_angle(5, direction="anticlockwise")


@pytest.mark.parametrize("size", [16, (9, 14), (33, 20)])
@pytest.mark.parametrize("radii", [(None, None), (4, None), (6, 5.5)])
def test_disk_is_one_inside_zero_outside_and_falls(size, radii):
    height, width = (size, size) if isinstance(size, int) else size
    mask = disk(size, *radii)
    outer = (min(height, width) - 1) / 2 if radii[0] is None else radii[0]
    inner = outer / 2 if radii[1] is None else radii[1]
    radius = np.asarray(polar_radius((height, width)))
    assert mask.shape == (height, width)
    np.testing.assert_array_equal(mask[radius <= inner], 1)
    np.testing.assert_allclose(mask[radius >= outer], 0, atol=1e-7)
    order = np.argsort(radius.ravel())
    assert (np.diff(np.asarray(mask).ravel()[order]) <= 1e-6).all()


def test_disk_halfway_is_a_half():
    np.testing.assert_allclose(disk((1, 31), 10, 4)[0, 15 + 7], 0.5, atol=1e-7)


def test_disk_hard_edge_is_binary():
    mask = disk((15, 15), 5, 5)
    np.testing.assert_array_equal(mask, polar_radius(15) <= 5)


def test_polar_images_equal_plenoptic():
    with np.load(REFERENCE) as values:
        angle = polar_angle((7, 10), 0.7, (2, 3), "counter-clockwise")
        np.testing.assert_allclose(angle, values["polar_angle"], atol=1e-6)
        radius = polar_radius((7, 10), -0.5, (2.5, 3.5))
        np.testing.assert_allclose(radius, values["polar_radius"], rtol=1e-5)
        np.testing.assert_allclose(disk((11, 14), 5, 3), values["disk"], atol=1e-6)


def test_polar_images_follow_the_default_precision(x64):
    for image in (polar_radius(4), polar_angle(4), disk(4)):
        assert image.dtype == jnp.float64
