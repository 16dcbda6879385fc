"""Time the front-end models of plenoptax beside those of plenoptic, in alternation.

Both take the same image, float32, with the default arguments of the models, pretrained where they
can be; plenoptic's filters are cached. Three tasks: the response; the value and gradient of its sum
of squares; and the product of the Fisher matrix with a direction, ``J.T @ J @ v``, which is what
eigendistortions are made of. Results are compared first. Run it with plenoptic installed:

    python -m benchmarks.front_ends --sizes 256 512

Prints Markdown tables of medians and, in brackets, quartiles in milliseconds; the factor is that
over the better number of threads.
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np
import plenoptic
import torch

import plenoptax
from benchmarks.shared import agree, compare_calls, compiled, photograph, print_header


PRETRAINED = {"kernel_size": 31, "pretrained": True}
MODELS = {
    "Linear": {},
    "Gaussian": {"kernel_size": 31},
    "CenterSurround": {"kernel_size": 31},
    "LinearNonlinear": PRETRAINED,
    "LuminanceGainControl": PRETRAINED,
    "LuminanceContrastGainControl": PRETRAINED,
    "OnOff": PRETRAINED,
}


def plenoptax_cases(name, image, direction):
    model = getattr(plenoptax.models, name)(**MODELS[name])
    image, direction = jnp.asarray(image), jnp.asarray(direction)

    def forward(model, image, direction):
        return model(image)

    def gradient(model, image, direction):
        return jax.value_and_grad(lambda image: jnp.sum(model(image) ** 2))(image)

    def fisher(model, image, direction):
        _, change = jax.jvp(model, (image,), (direction,))
        _, pull_back = jax.vjp(model, image)
        return pull_back(change)[0]

    arguments = model, image, direction
    cases, seconds = {}, {}
    for function in (forward, gradient, fisher):
        name = function.__name__
        cases[name], seconds[name] = compiled(function, *arguments)
    return cases, seconds


def plenoptic_cases(name, image, direction):
    cached = {} if name == "Linear" else {"cache_filt": True}
    model = getattr(plenoptic.models, name)(**MODELS[name], **cached)
    if name == "Linear":
        # Its own default is divided by rounding error.
        filt = plenoptax.models.Linear().filt
        model.conv.weight.data = torch.as_tensor(np.array(filt))
    plenoptic.remove_grad(model)
    image, direction = (torch.as_tensor(array)[None] for array in (image, direction))

    def forward():
        with torch.no_grad():
            return model(image)[0]

    def gradient():
        x = image.clone().requires_grad_()
        value = (model(x) ** 2).sum()
        value.backward()
        return value.detach(), x.grad[0]

    # As plenoptic's Eigendistortion: the graph is built once, a jvp is two vjps.
    point = image.clone().requires_grad_()
    response = model(point)
    dual = torch.ones_like(response, requires_grad=True)
    (pulled,) = torch.autograd.grad(response, point, dual, create_graph=True)

    def fisher():
        (change,) = torch.autograd.grad(pulled, dual, direction, retain_graph=True)
        return torch.autograd.grad(response, point, change, retain_graph=True)[0][0]

    return {"forward": forward, "gradient": gradient, "fisher": fisher}


def make_cases(name, size, agree=agree):
    """By task, a call by both libraries, and the seconds of compilation."""
    rng = np.random.default_rng(0)
    image = photograph(size, rng)
    direction = rng.standard_normal(image.shape).astype(np.float32)
    ours, seconds = plenoptax_cases(name, image, direction)
    theirs = plenoptic_cases(name, image, direction)
    # Refuse to compare times of results that disagree.
    for task in ours:
        found, wanted = (jax.tree.leaves(cases[task]()) for cases in (ours, theirs))
        for one, other in zip(found, wanted, strict=True):
            agree(f"{task} of {name}", one, other, 1e-3)
    return ours, theirs, seconds


def take_turns(turns, is_quick):
    ours, theirs = {}, {}
    for name in ("Gaussian", "LuminanceGainControl", "OnOff"):
        both = make_cases(name, 64 if is_quick else 256, turns.agree)
        for cases, found in zip((ours, theirs), both, strict=False):
            cases |= {f"{name}, {task}": call for task, call in found.items()}
    turns.take_calls(ours, theirs, block=4)


def compare(size, is_quick):
    print(f"\n{size} x {size} pixels, float32, CPU; milliseconds\n")
    print_header("model", "task", more=["compilation, s"])
    for name in MODELS:
        ours, theirs, seconds = make_cases(name, size)
        for task in ours:
            rounds, block = (2, 3) if is_quick else (8, 6)
            more = [f"{seconds[task]:.1f}"]
            compare_calls([name, task], ours[task], theirs[task], rounds, block, more)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[256])
    parser.add_argument("--quick", action="store_true", help="few repetitions, for orientation")
    options = parser.parse_args()
    for size in options.sizes:
        compare(size, options.quick)


if __name__ == "__main__":
    main()
