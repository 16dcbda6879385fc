"""Time the steerable pyramid of plenoptax beside that of plenoptic, in alternation.

Both take the same image, float32, with the default arguments of the pyramid, and their results are
compared first. Run it with plenoptic installed: ``python benchmarks/steerable_pyramid.py [size]``.
Times are medians in milliseconds.
"""

import statistics
import sys
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import plenoptic
import torch

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


def check(ours, theirs):
    for key, level in theirs["forward"]().items():
        ours_level = np.asarray(ours["forward"]()[key])
        np.testing.assert_allclose(
            ours_level, level[0].numpy(), rtol=0, atol=1e-4 * abs(level).max()
        )
    for case in ("reconstruction", "gradient of the energy"):
        scale = float(abs(theirs[case]()).max())
        np.testing.assert_allclose(
            ours[case](), theirs[case]()[0].numpy(), rtol=0, atol=1e-4 * scale
        )


def median_times(functions, rounds=8, block=10):
    # In blocks: the threads of one library go on spinning for a while and slow the other down.
    times = [[] for _ in functions]
    for _ in range(rounds):
        for function, elapsed in zip(functions, times, strict=True):
            function()
            for _ in range(block):
                start = time.perf_counter()
                function()
                elapsed.append(1e3 * (time.perf_counter() - start))
    return [statistics.median(elapsed) for elapsed in times]


def main():
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 256
    image = np.random.default_rng(0).uniform(size=(1, size, size)).astype(np.float32)
    print(f"{size} x {size} pixels, float32, {torch.get_num_threads()} torch threads")
    print(f"{'pyramid':8} {'case':24} {'plenoptax':>10} {'plenoptic':>10} {'ratio':>6}")
    for is_complex in (False, True):
        ours = plenoptax_cases(
            SteerablePyramidFreq((size, size), is_complex=is_complex), jnp.asarray(image)
        )
        theirs = plenoptic_cases(
            plenoptic.process.SteerablePyramidFreq((size, size), is_complex=is_complex),
            torch.as_tensor(image)[None],
        )
        check(ours, theirs)
        for case in ours:
            mine, other = median_times([ours[case], theirs[case]])
            kind = "complex" if is_complex else "real"
            print(f"{kind:8} {case:24} {mine:10.2f} {other:10.2f} {other / mine:6.1f}")


if __name__ == "__main__":
    main()
