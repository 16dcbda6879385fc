"""Time the metrics of plenoptax beside those of plenoptic, in alternation.

Both compare the same two images, float32, with default arguments. Values and gradients are compared
first. Run it with plenoptic installed: ``python -m benchmarks.metrics [--size 256] [--quick]``.
Prints a Markdown table of medians and, in brackets, quartiles in milliseconds of value and gradient
together; the factor is that over the better number of threads.
"""

import argparse
import functools

import jax
import jax.numpy as jnp
import numpy as np
import plenoptic
import torch

from benchmarks.shared import agree, compare_calls, compiled, photograph, print_header
from plenoptax import metric


METRICS = {
    "SSIM": (metric.ssim, plenoptic.metric.ssim),
    "MS-SSIM": (metric.ms_ssim, plenoptic.metric.ms_ssim),
    "NLPD": (metric.nlpd, plenoptic.metric.nlpd),
}


def make_cases(size, agree=agree):
    """By metric, value and gradient by both libraries, and the seconds of compilation."""
    rng = np.random.default_rng(0)
    image = photograph(size, rng)
    noisy = np.clip(image + 0.1 * rng.standard_normal(image.shape), 0, 1).astype(np.float32)
    arrays = [jnp.asarray(x) for x in (noisy, image)]
    first, second = (torch.as_tensor(x)[None] for x in (noisy, image))

    def differentiate(function):
        leaf = first.clone().requires_grad_()
        value = function(leaf, second)
        value.sum().backward()
        return value.detach(), leaf.grad

    ours, theirs, seconds = {}, {}, {}
    for name, (function, other) in METRICS.items():
        ours[name], seconds[name] = compiled(jax.value_and_grad(function), *arrays)
        theirs[name] = functools.partial(differentiate, other)
        # Refuse to compare times of results that disagree.
        for what, found, wanted in zip(
            ("value", "gradient"), ours[name](), theirs[name](), strict=True
        ):
            agree(f"{what} of {name}", found, wanted, 1e-3)
    return ours, theirs, seconds


def take_turns(turns, is_quick):
    # MS-SSIM needs 176 pixels.
    ours, theirs, _ = make_cases(176 if is_quick else 256, turns.agree)
    turns.take_calls(ours, theirs)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--quick", action="store_true", help="one round, to see that it runs")
    options = parser.parse_args()
    print(f"Value and gradient, {options.size} x {options.size}, float32, CPU; milliseconds\n")
    ours, theirs, seconds = make_cases(options.size)
    print_header("", more=["compilation, s"])
    for name in METRICS:
        rounds = 1 if options.quick else 8
        more = [f"{seconds[name]:.1f}"]
        compare_calls([name], ours[name], theirs[name], rounds, more=more)


if __name__ == "__main__":
    main()
