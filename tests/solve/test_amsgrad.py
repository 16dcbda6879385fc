import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import plenoptax as plx


def torch_rule(gradients, rate, b1, b2, eps):
    """The positions after each gradient, by the recursion of torch.optim.Adam(amsgrad=True)."""
    position = mean = square = largest = np.zeros_like(gradients[0])
    positions = []
    for count, gradient in enumerate(gradients, 1):
        mean = b1 * mean + (1 - b1) * gradient
        square = b2 * square + (1 - b2) * gradient**2
        largest = np.maximum(largest, square)
        root = np.sqrt(largest) / np.sqrt(1 - b2**count) + eps
        position = position - rate / (1 - b1**count) * mean / root
        positions.append(position)
    return np.stack(positions)


def descend(optimizer, gradients):
    def step(carry, gradient):
        position, state = carry
        updates, state = optimizer.update(gradient, state, position)
        position = optax.apply_updates(position, updates)
        return (position, state), position

    position = jnp.zeros_like(gradients[0])
    return jax.jit(lambda g: jax.lax.scan(step, (position, optimizer.init(position)), g)[1])(
        gradients
    )


@pytest.fixture
def gradients(rng):
    """Gradients that shrink, grow and change sign, some of the order of epsilon, one zero."""
    falling = np.exp(-np.linspace(0, 8, 60))[:, None] * rng.standard_normal((60, 5))
    falling[40] *= 1e4
    return falling * [1, 1e-3, 1e-7, 1e-9, 0]


@pytest.mark.parametrize("decays", [(0.9, 0.999), (0.0, 0.5)])
def test_steps_are_those_of_torch(gradients, decays, x64):
    wanted = torch_rule(gradients, 0.01, *decays, 1e-8)
    optimizer = plx.amsgrad(0.01, b1=decays[0], b2=decays[1])
    np.testing.assert_allclose(descend(optimizer, jnp.asarray(gradients)), wanted, rtol=1e-10)


def test_single_precision_corrects_the_bias_exactly(gradients):
    wanted = torch_rule(gradients, 0.01, 0.9, 0.999, 1e-8)
    found = descend(plx.amsgrad(0.01), jnp.asarray(gradients, jnp.float32))
    np.testing.assert_allclose(found[0], wanted[0], rtol=1e-6)
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-6)


@pytest.mark.parity
def test_steps_are_those_of_torch_itself(gradients, x64):
    torch = pytest.importorskip("torch")
    position = torch.zeros(5, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([position], lr=0.01, amsgrad=True)
    for gradient in gradients:
        position.grad = torch.as_tensor(gradient)
        optimizer.step()
    found = descend(plx.amsgrad(0.01), jnp.asarray(gradients))
    np.testing.assert_allclose(found[-1], position.detach().numpy(), rtol=1e-10)


def test_squares_out_of_range_change_no_step(gradients):
    # Without epsilon a step does not depend on the unit of the gradient.
    optimizer = plx.amsgrad(0.01, eps=0.0)
    gradients = jnp.asarray(gradients[:, :3], jnp.float32)
    wanted = descend(optimizer, gradients)
    for factor in (2.0**66, 2.0**-80):
        np.testing.assert_allclose(descend(optimizer, factor * gradients), wanted, rtol=1e-5)


def test_the_rate_follows_a_schedule(x64):
    found = descend(plx.amsgrad(optax.exponential_decay(0.1, 1, 0.5)), jnp.ones((3, 1)))
    np.testing.assert_allclose(np.diff(found[:, 0], prepend=0), [-0.1, -0.05, -0.025], 1e-6)


def test_containers_are_followed():
    optimizer = plx.amsgrad(0.5)
    params = {"a": jnp.ones(2), "b": (jnp.zeros(3),)}
    updates, _ = optimizer.update(jax.tree.map(jnp.ones_like, params), optimizer.init(params))
    assert jax.tree.structure(updates) == jax.tree.structure(params)
    np.testing.assert_allclose(updates["a"], -0.5, rtol=1e-6)


@pytest.mark.parametrize("wrong", [{"b1": 1.0}, {"b2": -0.1}])
def test_decays_out_of_range_are_refused(wrong):
    (name,) = wrong
    with pytest.raises(ValueError, match=f"{name} must be a finite number at least 0 and below 1"):
        plx.amsgrad(0.1, **wrong)
