"""Time the Laplacian pyramid of plenoptax beside that of plenoptic, in alternation.

Both take the same image, float32, with six scales and the filter of sum 1, as in the normalized
Laplacian pyramid distance. Their results are compared first. Times are medians with quartiles, in
milliseconds.

    python -m benchmarks.process --sizes 256 512
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import plenoptic
import torch

from benchmarks.shared import agree, compare_calls, print_header
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


def make_cases(size, agree=agree):
    image = np.random.default_rng(0).uniform(size=(1, size, size)).astype(np.float32)
    ours, theirs = plenoptax_cases(image), plenoptic_cases(image)
    # Refuse to compare times of results that disagree.
    for case in ours:
        for one, other in zip(ours[case](), theirs[case](), strict=True):
            agree(f"{case} of the Laplacian pyramid", one, other, 1e-5)
    return ours, theirs


def take_turns(turns, is_quick):
    turns.take_calls(*make_cases(64 if is_quick else 256, turns.agree), block=10)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[256, 512])
    parser.add_argument("--quick", action="store_true", help="one round, to see that it runs")
    options = parser.parse_args()
    print_header("pixels", "case")
    for size in options.sizes:
        ours, theirs = make_cases(size)
        for case in ours:
            rounds = 1 if options.quick else 10
            compare_calls([f"{size} x {size}", case], ours[case], theirs[case], rounds, 10)


if __name__ == "__main__":
    main()
