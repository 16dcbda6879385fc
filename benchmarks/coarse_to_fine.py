"""Whether synthesizing a texture from coarse to fine gets nearer than all statistics at once.

For each texture and seed three metamers are made from one starting image, in the same number of
evaluations: that which `plenoptax.metamer_ctf` takes with its defaults. The other two are without
stages: by the same loss and the same L-BFGS, and by the defaults of `plenoptax.metamer` (the loss
whitened, L-BFGS with 30 pairs); neither stops before. The whitening takes 256 evaluations of the
model without gradients, which are not in the number. The images are compared by the loss of all
scales and by the errors of a report, group by group: the relative error, and the z error in units
of the standard deviation over windows of photographs.

    python -m benchmarks.coarse_to_fine --seeds 3
"""

import argparse

import jax
import jax.numpy as jnp
import numpy as np

import plenoptax as plx


SETTINGS = {(64, 3): "64 x 64, 3 scales", (128, 4): "128 x 128, 4 scales"}
ERRORS = ("relative_error", "z_error")


def draw_blots(size):
    """Dark and light blots, the same in every run."""
    noise = jax.random.normal(jax.random.key(7), (1, size, size))
    smooth = plx.models.Gaussian(19, std=3.0, pad_mode="circular")(noise)
    return jax.nn.sigmoid(4 * smooth / smooth.std())


TEXTURES = {
    "brick": lambda size: plx.data.brick()[:, :size, :size],
    "grass": lambda size: plx.data.grass()[:, :size, :size],
    "gravel": lambda size: plx.data.gravel()[:, :size, :size],
    "blots": draw_blots,
}


def measure_null(model, size):
    """The null of windows of photographs: how much each statistic varies between images."""
    corners = [(i, j) for i in range(0, 256, size) for j in range(0, 256, size)]
    windows = {
        (name, i, j): plx.data.get(name, as_gray=True)[:, i : i + size, j : j + size]
        for name in plx.data.PHOTOGRAPHS
        for i, j in corners
    }
    names = [name for name, _, _ in windows]
    return plx.null(jnp.stack([*windows.values()]), model, sources=names)


def compare(image, model, seed, null):
    """The evaluations, the stages' names and lengths, and the losses and reports of the methods."""
    key = jax.random.key(seed)
    weighted = plx.loss.portilla_simoncelli_loss_factory(model, image)
    staged = plx.metamer_ctf(image, model, key=key, progress=False)
    options = {"key": key, "max_steps": len(staged.trace), "progress": False}
    never = plx.stop.Never()
    results = {
        "from coarse to fine": staged,
        "same loss at once": plx.metamer(
            image, model, weighted, solver=plx.Solver(plx.lbfgs(), never), **options
        ),
        "metamer's defaults": plx.metamer(
            image, model, solver=plx.Solver(plx.lbfgs(30), never), **options
        ),
    }
    target = model(image)
    losses = {name: float(weighted(model(r.image), target)) for name, r in results.items()}
    groups = {name: r.report(null=null).groups for name, r in results.items()}
    timing = staged.problem.scales_timing(staged.trace)
    return {
        "evaluations": len(staged.trace),
        "stages": {name: len(steps) for name, steps in timing.items()},
        "plateau": bool(staged.status == plx.Status.plateau),
        "losses": losses,
        "groups": groups,
    }


def average(values):
    """The geometric mean, since errors differ by orders of magnitude."""
    return float(np.exp(np.mean(np.log(values))))


def compare_groups(runs, other, error):
    """By group, the error from coarse to fine over that of another method; means over seeds."""
    names = runs[0]["groups"][other]
    return {
        name: average(
            [
                getattr(run["groups"]["from coarse to fine"][name], error)
                / getattr(run["groups"][other][name], error)
                for run in runs
            ]
        )
        for name in names
    }


def print_row(*cells):
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def print_overview(found):
    methods = list(found[0][1][0]["losses"])
    print_row("texture", "evaluations", "in the last stage", *methods, "plateaus")
    print("|---" * (len(methods) + 4) + "|")
    for name, runs in found:
        losses = [[run["losses"][method] for run in runs] for method in methods]
        last = [run["stages"].get("all", 0) for run in runs]
        cells = [f"{np.median(x):.4f} ({min(x):.4f}-{max(x):.4f})" for x in losses]
        ended = sum(run["plateau"] for run in runs)
        counts = [
            "-".join(map(str, (min(x), max(x)))) for x in ([r["evaluations"] for r in runs], last)
        ]
        print_row(name, *counts, *cells, f"{ended} of {len(runs)}")


def print_groups(found, other):
    print(f"\nErrors from coarse to fine over those of {other}, relative / z:\n")
    print_row("group", *(name for name, _ in found))
    print("|---" * (len(found) + 1) + "|")
    ratios = [[compare_groups(runs, other, error) for error in ERRORS] for _, runs in found]
    for group in ratios[0][0]:
        print_row(group, *(" / ".join(f"{of[group]:.2g}" for of in texture) for texture in ratios))
    wins = [sum(ratio <= 1 for ratio in relative.values()) for relative, _ in ratios]
    print_row("at least as good, relative", *(f"{n} of {len(ratios[0][0])}" for n in wins))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--sizes", type=int, nargs="+", default=[64, 128])
    parser.add_argument("--textures", nargs="+", default=list(TEXTURES))
    options = parser.parse_args()
    for (size, n_scales), title in SETTINGS.items():
        if size not in options.sizes:
            continue
        model = plx.models.PortillaSimoncelli((size, size), n_scales)
        found = []
        for name in options.textures:
            image = TEXTURES[name](size)
            runs = [compare(image, model, seed, null) for seed in range(options.seeds)]
            found.append((name, runs))
        print(f"\n## {title}\n\nLoss of all scales, median (range):\n")
        print_overview(found)
        for other in ("same loss at once", "metamer's defaults"):
            print_groups(found, other)


if __name__ == "__main__":
    main()
