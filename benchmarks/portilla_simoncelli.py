"""Time the texture statistics of plenoptax beside those of plenoptic, in alternation.

Both take the same image, float32, with the default arguments of the model. Their statistics and
their gradients are compared first. Run it with plenoptic installed:
``python benchmarks/portilla_simoncelli.py [size]``. Prints a Markdown table of medians and, in
brackets, quartiles in milliseconds; the factor is that over the better number of threads.
"""

import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import plenoptic
import torch

from plenoptax.loss import l2_norm
from plenoptax.models import PortillaSimoncelli


def texture(size, rng):
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None])
    amplitude = 1 / np.maximum(frequency, 1 / size)
    values = np.tanh(np.fft.ifft2(np.fft.fft2(rng.standard_normal((size, size))) * amplitude).real)
    return 0.5 + 0.4 * values + 0.05 * rng.standard_normal((size, size))


def compiled(function, *arguments):
    """A function without arguments, and how long its compilation took, in seconds."""
    start = time.perf_counter()
    executable = jax.jit(function).lower(*arguments).compile()
    elapsed = time.perf_counter() - start
    return lambda: jax.block_until_ready(executable(*arguments)), elapsed


def plenoptax_cases(target, start):
    model = PortillaSimoncelli(target.shape)
    target, start = (jnp.asarray(image[None], jnp.float32) for image in (target, start))
    representation = model(target)

    def loss(image, model, representation):
        return l2_norm(model(image), representation)

    forward, forward_seconds = compiled(lambda model, image: model(image), model, start)
    gradient, gradient_seconds = compiled(jax.value_and_grad(loss), start, model, representation)
    cases = {"forward": forward, "value and gradient": gradient}
    return cases, {"forward": forward_seconds, "value and gradient": gradient_seconds}


def plenoptic_cases(target, start):
    model = plenoptic.models.PortillaSimoncelli(target.shape)
    target, start = (
        torch.as_tensor(image[None, None], dtype=torch.float32) for image in (target, start)
    )
    representation = model(target)

    def forward():
        with torch.no_grad():
            return model(start)

    def gradient():
        image = start.clone().requires_grad_()
        value = plenoptic.loss.l2_norm(model(image), representation)
        value.backward()
        return value.detach(), image.grad

    return {"forward": forward, "value and gradient": gradient}


def check(ours, theirs):
    np.testing.assert_allclose(
        ours["forward"](), theirs["forward"]()[0].numpy(), rtol=1e-4, atol=1e-4
    )
    (value, gradient), (their_value, their_gradient) = (
        cases["value and gradient"]() for cases in (ours, theirs)
    )
    np.testing.assert_allclose(value, their_value.numpy(), rtol=1e-4)
    their_gradient = their_gradient[0].numpy()
    assert np.linalg.norm(gradient - their_gradient) < 1e-3 * np.linalg.norm(their_gradient)


def measure(functions, rounds=8, block=8):
    """Quartiles of the times of several functions, in milliseconds."""
    # In blocks: the threads of one library go on spinning for a while and slow the other down.
    times = {name: [] for name in functions}
    for _ in range(rounds):
        for name, function in functions.items():
            function()
            for _ in range(block):
                start = time.perf_counter()
                function()
                times[name].append(1e3 * (time.perf_counter() - start))
    return {name: np.percentile(values, [25, 50, 75]) for name, values in times.items()}


def with_threads(number, function):
    def run():
        if torch.get_num_threads() != number:
            torch.set_num_threads(number)
        return function()

    return run


def main():
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 256
    rng = np.random.default_rng(0)
    target, start = texture(size, rng), 0.5 + 0.1 * rng.random((size, size))
    ours, seconds = plenoptax_cases(target, start)
    theirs = plenoptic_cases(target, start)
    check(ours, theirs)
    print(f"Portilla-Simoncelli, {size} x {size}, float32, CPU; milliseconds\n")
    print("| | plenoptax | plenoptic, 1 thread | 2 threads | factor | compilation |")
    print("|---|---|---|---|---|---|")
    for case in ours:
        functions = {"plenoptax": ours[case]}
        functions |= {number: with_threads(number, theirs[case]) for number in (1, 2)}
        times = measure(functions)
        cells = [f"{half:.1f} [{low:.1f}, {high:.1f}]" for low, half, high in times.values()]
        factor = min(times[1][1], times[2][1]) / times["plenoptax"][1]
        print(f"| {case} | {' | '.join(cells)} | {factor:.1f} | {seconds[case]:.1f} s |")


if __name__ == "__main__":
    main()
