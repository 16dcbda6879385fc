"""Time the front-end models of plenoptax beside those of plenoptic, in alternation.

Both take the same image, float32, with the default arguments of the models, pretrained where they
can be; plenoptic's filters are cached. Three tasks: the response; the value and gradient of its sum
of squares; and the product of the Fisher matrix with a direction, ``J.T @ J @ v``, which is what
eigendistortions are made of. Results are compared first. Run it with plenoptic installed:

    python benchmarks/front_ends.py --sizes 256 512 --threads 1 2

Prints Markdown tables of medians and, in brackets, quartiles in milliseconds; the factor is that
over the better number of threads.
"""

import argparse
import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
import plenoptic
import torch

import plenoptax


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


def photograph(size, rng):
    """Noise with the spectrum of photographs, in [0, 1]."""
    frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None])
    amplitude = 1 / np.maximum(frequency, 1 / size)
    values = np.fft.ifft2(np.fft.fft2(rng.standard_normal((size, size))) * amplitude).real
    return (0.5 + 0.4 * np.tanh(values / values.std())).astype(np.float32)[None]


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
        start = time.perf_counter()
        executable = jax.jit(function).lower(*arguments).compile()
        seconds[function.__name__] = time.perf_counter() - start
        cases[function.__name__] = functools.partial(
            lambda executable: jax.block_until_ready(executable(*arguments)), executable
        )
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


def check(ours, theirs):
    """Refuse to compare times of results that disagree."""
    for case in ours:
        pairs = zip(*map(jax.tree.leaves, (ours[case](), list_of(theirs[case]()))), strict=True)
        for found, expected in pairs:
            expected = expected.numpy()
            np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())


def list_of(value):
    return list(value) if isinstance(value, tuple) else [value]


def measure(functions, rounds, block):
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


def compare(size, options):
    rng = np.random.default_rng(0)
    image = photograph(size, rng)
    direction = rng.standard_normal(image.shape).astype(np.float32)
    print(f"\n{size} x {size} pixels, float32, CPU; milliseconds\n")
    columns = [f"plenoptic, {number} thread" + "s" * (number > 1) for number in options.threads]
    columns = ["model", "task", "plenoptax", *columns, "factor", "compilation"]
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for name in MODELS:
        ours, seconds = plenoptax_cases(name, image, direction)
        theirs = plenoptic_cases(name, image, direction)
        check(ours, theirs)
        for case in ours:
            functions = {"plenoptax": ours[case]}
            functions |= {n: with_threads(n, theirs[case]) for n in options.threads}
            times = measure(functions, *((2, 3) if options.quick else (8, 6)))
            cells = [f"{half:.2f} [{low:.2f}, {high:.2f}]" for low, half, high in times.values()]
            best = min(times[number][1] for number in options.threads)
            cells += [f"{best / times['plenoptax'][1]:.0f}", f"{seconds[case]:.1f} s"]
            print(f"| {name} | {case} | " + " | ".join(cells) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[256])
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--quick", action="store_true", help="few repetitions, for orientation")
    options = parser.parse_args()
    for size in options.sizes:
        compare(size, options)


if __name__ == "__main__":
    main()
