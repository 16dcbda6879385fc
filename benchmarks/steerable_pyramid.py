"""Time the steerable pyramid of plenoptax beside that of plenoptic, in alternation.

Both take the same image, float32, with the default arguments of the pyramid, and their results are
compared first. Run it with plenoptic installed: ``python -m benchmarks.steerable_pyramid [size]``.
Times are medians and quartiles in milliseconds.
"""

import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import plenoptic
import torch

from benchmarks.shared import agree, compare_calls, print_header
from plenoptax.process import SteerablePyramidFreq


def energy(coefficients):
    return sum(jnp.sum(jnp.real(level * jnp.conj(level))) for level in coefficients.values())


def plenoptax_cases(pyramid, image):
    forward = eqx.filter_jit(lambda pyramid, image: pyramid(image))
    inverse = eqx.filter_jit(lambda pyramid, coefficients: pyramid.recon_pyr(coefficients))
    gradient = eqx.filter_jit(
        lambda pyramid, image: jax.grad(lambda image: energy(pyramid(image)))(image)
    )
    coefficients = forward(pyramid, image)
    return {
        "forward": lambda: jax.block_until_ready(forward(pyramid, image)),
        "reconstruction": lambda: jax.block_until_ready(inverse(pyramid, coefficients)),
        "gradient of the energy": lambda: jax.block_until_ready(gradient(pyramid, image)),
    }


def plenoptic_cases(pyramid, image):
    def gradient():
        variable = image.clone().requires_grad_()
        sum((level.abs() ** 2).sum() for level in pyramid(variable).values()).backward()
        return variable.grad

    coefficients = pyramid(image)
    return {
        "forward": lambda: pyramid(image),
        "reconstruction": lambda: pyramid.recon_pyr(coefficients),
        "gradient of the energy": gradient,
    }


def make_cases(size, agree=agree):
    """By kind of pyramid and case, a call by either library."""
    image = np.random.default_rng(0).uniform(size=(1, size, size)).astype(np.float32)
    ours, theirs = {}, {}
    for kind, is_complex in (("real", False), ("complex", True)):
        found = plenoptax_cases(
            SteerablePyramidFreq((size, size), is_complex=is_complex), jnp.asarray(image)
        )
        wanted = plenoptic_cases(
            plenoptic.process.SteerablePyramidFreq((size, size), is_complex=is_complex),
            torch.as_tensor(image)[None],
        )
        # Refuse to compare times of results that disagree.
        what = f"of the {kind} pyramid"
        levels, others = found["forward"](), wanted["forward"]()
        for key, level in others.items():
            agree(f"forward {what}", levels[key], level, 1e-4)
        for case in ("reconstruction", "gradient of the energy"):
            agree(f"{case} {what}", found[case](), wanted[case](), 1e-4)
        ours |= {f"{kind}, {case}": call for case, call in found.items()}
        theirs |= {f"{kind}, {case}": call for case, call in wanted.items()}
    return ours, theirs


def take_turns(turns, is_quick):
    turns.take_calls(*make_cases(64 if is_quick else 256, turns.agree), block=10)


def main():
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 256
    print(f"{size} x {size} pixels, float32\n")
    print_header("pyramid, case")
    ours, theirs = make_cases(size)
    for case in ours:
        compare_calls([case], ours[case], theirs[case], block=10)


if __name__ == "__main__":
    main()
