"""Time the Laplacian pyramid of plenoptax beside that of plenoptic, in alternation.

Both take the same image, float32, with six scales and the filter of sum 1, as in the normalized
Laplacian pyramid distance. Their results are compared first. Times are medians with quartiles, in
milliseconds.

    python benchmarks/process.py --sizes 256 512
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
import plenoptic
import torch

from plenoptax.process import LaplacianPyramid


def plenoptax_cases(image):
    pyramid = LaplacianPyramid(6, scale_filter=True)
    image = jnp.asarray(image)
    forward = jax.jit(pyramid)
    inverse = jax.jit(pyramid.recon_pyr)
    gradient = jax.jit(jax.value_and_grad(lambda x: sum(jnp.mean(y**2) for y in pyramid(x))))
    scales = forward(image)
    return {
        "forward": lambda: jax.block_until_ready(forward(image)),
        "reconstruction": lambda: jax.block_until_ready([inverse(scales)]),
        "value and gradient": lambda: jax.block_until_ready(gradient(image)),
    }


def plenoptic_cases(image):
    pyramid = plenoptic.process.LaplacianPyramid(6, scale_filter=True)
    image = torch.as_tensor(image)[None]

    def gradient():
        variable = image.clone().requires_grad_()
        value = sum((y**2).mean() for y in pyramid(variable))
        value.backward()
        return value.detach(), variable.grad

    scales = pyramid(image)
    return {
        "forward": lambda: pyramid(image),
        "reconstruction": lambda: [pyramid.recon_pyr(scales)],
        "value and gradient": gradient,
    }


def check(ours, theirs):
    for case in ours:
        for one, other in zip(ours[case](), theirs[case](), strict=True):
            other = np.squeeze(other.numpy())
            np.testing.assert_allclose(np.squeeze(one), other, atol=1e-5 * abs(other).max())


def times(functions, rounds, block=10):
    # In blocks: the threads of one library go on spinning for a while and slow the other down.
    elapsed = [[] for _ in functions]
    for _ in range(rounds):
        for function, found in zip(functions, elapsed, strict=True):
            function()
            for _ in range(block):
                start = time.perf_counter()
                function()
                found.append(1e3 * (time.perf_counter() - start))
    return [np.percentile(found, (50, 25, 75)) for found in elapsed]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--quick", action="store_true", help="one round, to see that it runs")
    options = parser.parse_args()
    print(f"float32, {torch.get_num_threads()} torch threads\n")
    print("| pixels | case | plenoptax | plenoptic | factor |")
    print("|---|---|---|---|---|")
    for size in options.sizes:
        image = np.random.default_rng(0).uniform(size=(1, size, size)).astype(np.float32)
        ours, theirs = plenoptax_cases(image), plenoptic_cases(image)
        check(ours, theirs)
        for case in ours:
            both = times([ours[case], theirs[case]], rounds=1 if options.quick else 10)
            cells = [f"{median:.2f} [{low:.2f}, {high:.2f}]" for median, low, high in both]
            factor = both[1][0] / both[0][0]
            print(f"| {size} x {size} | {case} | {' | '.join(cells)} | {factor:.1f} |")


if __name__ == "__main__":
    main()
