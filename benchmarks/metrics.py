"""Time the metrics of plenoptax beside those of plenoptic, in alternation.

Both compare the same two images, float32, with default arguments. Values and gradients are compared
first. Run it with plenoptic installed: ``python benchmarks/metrics.py [--size 256] [--quick]``.
Prints a Markdown table of medians and, in brackets, quartiles in milliseconds of value and gradient
together; the factor is that over the better number of threads.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
import plenoptic
import torch

from plenoptax import metric


METRICS = {
    "SSIM": (metric.ssim, plenoptic.metric.ssim),
    "MS-SSIM": (metric.ms_ssim, plenoptic.metric.ms_ssim),
    "NLPD": (metric.nlpd, plenoptic.metric.nlpd),
}


def images(size):
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None])
    amplitude = 1 / np.maximum(frequency, 1 / size)
    values = np.fft.ifft2(np.fft.fft2(rng.standard_normal((size, size))) * amplitude).real
    image = 0.5 + 0.4 * np.tanh(values / values.std())
    noisy = np.clip(image + 0.1 * rng.standard_normal((size, size)), 0, 1)
    return noisy.astype(np.float32), image.astype(np.float32)


def compiled(function, *arguments):
    """A function without arguments, and how long its compilation took, in seconds."""
    start = time.perf_counter()
    executable = jax.jit(jax.value_and_grad(function)).lower(*arguments).compile()
    elapsed = time.perf_counter() - start
    return lambda: jax.block_until_ready(executable(*arguments)), elapsed


def with_threads(number, function, noisy, image):
    def run():
        if torch.get_num_threads() != number:
            torch.set_num_threads(number)
        leaf = noisy.clone().requires_grad_()
        value = function(leaf, image)
        value.sum().backward()
        return value.detach(), leaf.grad

    return run


def check(ours, theirs):
    (value, gradient), (their_value, their_gradient) = ours(), theirs()
    np.testing.assert_allclose(value, their_value.item(), rtol=1e-4)
    their_gradient = their_gradient[0].numpy()
    assert np.linalg.norm(gradient - their_gradient) < 1e-3 * np.linalg.norm(their_gradient)


def measure(functions, rounds, block=8):
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--quick", action="store_true", help="one round, to see that it runs")
    options = parser.parse_args()
    noisy, image = images(options.size)
    arrays = [jnp.asarray(x[None]) for x in (noisy, image)]
    tensors = [torch.as_tensor(x[None, None]) for x in (noisy, image)]
    print(f"Value and gradient, {options.size} x {options.size}, float32, CPU; milliseconds\n")
    print("| | plenoptax | plenoptic, 1 thread | 2 threads | factor | compilation |")
    print("|---|---|---|---|---|---|")
    for name, (ours, theirs) in METRICS.items():
        function, seconds = compiled(ours, *arrays)
        functions = {"plenoptax": function}
        functions |= {number: with_threads(number, theirs, *tensors) for number in (1, 2)}
        check(function, functions[1])
        times = measure(functions, rounds=1 if options.quick else 8)
        cells = [f"{half:.1f} [{low:.1f}, {high:.1f}]" for low, half, high in times.values()]
        factor = min(times[1][1], times[2][1]) / times["plenoptax"][1]
        print(f"| {name} | {' | '.join(cells)} | {factor:.1f} | {seconds:.1f} s |")


if __name__ == "__main__":
    main()
