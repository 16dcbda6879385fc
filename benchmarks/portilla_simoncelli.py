"""Time the texture statistics of plenoptax beside those of plenoptic, in alternation.

Both take the same image, float32, with the default arguments of the model. Their statistics and
their gradients are compared first. Run it with plenoptic installed:
``python -m benchmarks.portilla_simoncelli [size]``. Prints a Markdown table of medians and, in
brackets, quartiles in milliseconds; the factor is that over the better number of threads.
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
import plenoptic
import torch

from benchmarks.shared import agree, compare_calls, compiled, photograph, print_header
from plenoptax.loss import l2_norm
from plenoptax.models import PortillaSimoncelli


def plenoptax_cases(target, start):
    model = PortillaSimoncelli(target.shape[-2:])
    target, start = jnp.asarray(target), jnp.asarray(start)
    representation = model(target)

    def loss(image, model, representation):
        return l2_norm(model(image), representation)

    forward, forward_seconds = compiled(lambda model, image: model(image), model, start)
    gradient, gradient_seconds = compiled(jax.value_and_grad(loss), start, model, representation)
    cases = {"forward": forward, "value and gradient": gradient}
    return cases, {"forward": forward_seconds, "value and gradient": gradient_seconds}


def plenoptic_cases(target, start):
    model = plenoptic.models.PortillaSimoncelli(target.shape[-2:])
    target, start = (torch.as_tensor(image)[None] for image in (target, start))
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


def check(ours, theirs, agree=agree):
    """Refuse to compare times of results that disagree."""
    agree("statistics", ours["forward"](), theirs["forward"]()[0], 1e-4)
    found, wanted = (cases["value and gradient"]() for cases in (ours, theirs))
    agree("value of the loss", found[0], wanted[0], 1e-4)
    agree("gradient of the loss", found[1], wanted[1], 1e-3)


def images(size):
    rng = np.random.default_rng(0)
    target = photograph(size, rng) + 0.05 * rng.standard_normal((1, size, size))
    start = 0.5 + 0.1 * rng.random((1, size, size))
    return target.astype(np.float32), start.astype(np.float32)


def take_turns(turns, is_quick):
    pair = images(128 if is_quick else 256)
    ours, _ = plenoptax_cases(*pair)
    theirs = plenoptic_cases(*pair)
    check(ours, theirs, turns.agree)
    turns.take_calls(ours, theirs)


def main():
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 256
    pair = images(size)
    ours, seconds = plenoptax_cases(*pair)
    theirs = plenoptic_cases(*pair)
    check(ours, theirs)
    print(f"Portilla-Simoncelli, {size} x {size}, float32, CPU; milliseconds\n")
    print_header("", more=["compilation, s"])
    for case in ours:
        compare_calls([case], ours[case], theirs[case], more=[f"{seconds[case]:.1f}"])


if __name__ == "__main__":
    main()
