"""Time texture metamers of the Portilla-Simoncelli model, plenoptic's and plenoptax's.

Both start from the same image, read from a file, and run until an evaluation finds the weighted
loss at or under a level. Each run is a process of its own, timed from its start to that evaluation,
with imports, compilation and everything else; the two libraries take turns. plenoptic runs with its
own recipe: L-BFGS, 10 evaluations a step, a history of 100, strong Wolfe. plenoptax minimizes its
default, the same loss whitened, and is stopped by the weighted loss itself.

plenoptax runs twice: cold, with an empty compilation cache, and warm, with the one that is left.
Before the times, the two libraries' weighted losses of the starting image and of both results are
compared.

    python -m benchmarks.texture_metamer --seeds 3 --threads 1 2

With ``--split`` it says instead where the time of the command line's ``metamer brick`` goes, for
500 steps of plenoptax, cold and warm: wall and CPU seconds, medians (range) of three processes.

    python -m benchmarks.texture_metamer --split --textures brick
"""

import argparse
import functools
import json
import pathlib
import tempfile
import time

from benchmarks.load import peak_memory
from benchmarks.shared import (
    agree,
    keep_programs,
    run_child,
    summarize,
    synthesize_plenoptic_texture,
    take_syntheses,
    use_threads,
)


LEVELS = {"brick": 0.006, "grass": 0.0011, "gravel": 0.0013}
# The largest relative error of any group of statistics that both libraries reach.
LARGEST_ERROR = 0.05


def watch_groups(folder):
    """Return a function of two representations: the largest relative error of a group."""
    import numpy as np

    labels = np.load(folder / "labels.npy")
    members = [labels == name for name in np.unique(labels)]

    def largest(found, wanted):
        found, wanted = np.ravel(found), np.ravel(wanted)
        errors = [
            np.linalg.norm(found[own] - wanted[own]) / np.linalg.norm(wanted[own])
            for own in members
        ]
        return float(max(errors))

    return largest


def run_plenoptic(options):
    use_threads(options.threads[0])
    import numpy as np
    import torch

    image = torch.from_numpy(np.load(options.folder / "target.npy"))[None]
    start = torch.from_numpy(np.load(options.folder / "start.npy"))[None]
    largest = watch_groups(options.folder) if options.error else None
    losses = []

    def watch(loss, found, wanted, image):
        losses.append(loss)
        if options.error:
            return largest(found.numpy(), wanted.numpy()) <= options.error
        return loss <= options.level

    result = synthesize_plenoptic_texture(image, start, watch, options.max_evaluations)
    np.save(options.folder / "plenoptic.npy", result)
    return {"start_loss": losses[0], "losses": losses, "evaluations": len(losses)}


def run_plenoptax(options):
    if options.cache:
        keep_programs(options.cache)
    import jax.numpy as jnp
    import numpy as np

    import plenoptax as plx

    image = jnp.asarray(np.load(options.folder / "target.npy"))
    start = jnp.asarray(np.load(options.folder / "start.npy"))
    model = plx.models.PortillaSimoncelli(image.shape[-2:])
    run = run_to_errors if options.error else run_to_level
    made, losses = run(plx.Metamer(image, model), start, options)
    np.save(options.folder / "plenoptax.npy", np.asarray(made))
    # The covariance that whitens the loss takes 256 evaluations of the model, without a gradient.
    return {"start_loss": losses[0], "losses": losses[:-1], "evaluations": len(losses) - 1}


def run_to_level(problem, start, options):
    """Run until the weighted loss is at or under a level; the image and the weighted losses."""
    import jax
    import jax.numpy as jnp

    import plenoptax as plx

    class Level(plx.stop.AbstractStop):
        """Stops at the first weighted loss at or under a level."""

        level: jax.Array

        def init(self, dtype):
            return jnp.full((), jnp.inf, dtype)

        def update(self, state, info):
            return info.terms["weighted_loss"]

        def fires(self, state):
            return state <= self.level

    # The defaults of textures except for the stop rule.
    solver = plx.Solver(plx.lbfgs(30), stop=Level(jnp.asarray(options.level)))
    state = plx.init(problem, solver, initial_image=start)
    state, trace = plx.run(problem, solver, state, options.max_evaluations, progress=False)
    return problem.decode(state.accepted_z), trace.terms["weighted_loss"].tolist()


def run_to_errors(problem, start, options):
    """Run until no group's error is above a limit, looked at after every 10 evaluations."""
    import equinox as eqx

    import plenoptax as plx

    largest = watch_groups(options.folder)
    measure = eqx.filter_jit(lambda problem, z: problem.model(problem.decode(z)))
    solver = plx.Solver(plx.lbfgs(30), stop=plx.stop.Never())
    state, losses, error = plx.init(problem, solver, initial_image=start), [], float("inf")
    while error > options.error and len(losses) < options.max_evaluations:
        state, trace = plx.run(problem, solver, state, 10, progress=False)
        *found, last = trace.terms["weighted_loss"].tolist()
        losses += found
        error = largest(measure(problem, state.accepted_z), problem.target)
    return problem.decode(state.accepted_z), [*losses, last]


def run_split(options):
    """Do what ``python -m plenoptax metamer`` does, and take the time of each part."""
    parts, last = {}, [time.perf_counter(), time.process_time()]

    def finish(part):
        now = [time.perf_counter(), time.process_time()]
        parts[part] = [after - before for after, before in zip(now, last, strict=True)]
        last[:] = now

    keep_programs(options.cache)
    import jax

    import plenoptax as plx
    import plenoptax.cli

    finish("imports")
    image = plx.data.get(options.name)
    model = plx.models.PortillaSimoncelli(image.shape[-2:])
    finish("image and masks")
    base = plx.loss.portilla_simoncelli_loss_factory(model, image)
    finish("target and weights")
    loss = plx.loss.whitened_loss_factory(model, image, base, separate_axes=1)
    jax.block_until_ready(loss)
    finish("whitening")
    key = jax.random.key(options.seed)
    result = plx.metamer(image, model, loss, key=key, max_steps=500, progress=False)
    finish("loop")
    result.report()
    finish("report")
    figure = plx.plot.synthesis_status(result)
    finish("drawing the figure")
    figure.savefig(options.folder / "status.png")
    finish("saving the figure")
    return {"parts": parts, "steps": len(result.trace)}


def split(options):
    """Print a table of the parts of the command line's metamer."""
    for name in options.textures:
        runs = {"cold": [], "warm": []}
        for _ in range(3):
            with tempfile.TemporaryDirectory() as folder:
                for label in runs:
                    cache = pathlib.Path(folder) / "cache"
                    common = {"folder": folder, "name": name, "seed": 0, "cache": cache}
                    runs[label].append(run_child("texture_metamer", "split", **common))
        print(f"{name}, {runs['cold'][0]['steps']} steps; seconds")
        print("| part | cold, wall | CPU | warm, wall | CPU |\n|---|---|---|---|---|")
        parts = runs["cold"][0]["parts"]
        for part in parts:
            cells = [
                summarize([run["parts"][part][clock] for run in runs[label]])
                for label in runs
                for clock in (0, 1)
            ]
            print(f"| {part} | " + " | ".join(cells) + " |")
        cells = [
            summarize([sum(part[clock] for part in run["parts"].values()) for run in runs[label]])
            for label in runs
            for clock in (0, 1)
        ]
        print("| together | " + " | ".join(cells) + " |", flush=True)


def judge(options):
    """By library, its result's weighted loss and its largest error of a group, by plenoptic."""
    import numpy as np
    import plenoptic as po
    import torch

    largest = watch_groups(options.folder)

    image = torch.from_numpy(np.load(options.folder / "target.npy"))[None]
    model = po.models.PortillaSimoncelli(image.shape[-2:])
    loss = po.loss.portilla_simoncelli_loss_factory(model, image)
    target = model(image)
    found = {}
    for name in ("plenoptic", "plenoptax"):
        result = torch.from_numpy(np.load(options.folder / f"{name}.npy"))[None]
        representation = model(result)
        found[name] = {
            "loss": loss(representation, target).item(),
            "error": largest(representation.numpy(), target.numpy()),
        }
    return found


def make_start(options):
    """Write a photograph and its starting image; plenoptax's own, so that neither is favored."""
    import jax
    import numpy as np

    import plenoptax as plx

    image = plx.data.get(options.name)[:, : options.size, : options.size]
    noise = jax.random.uniform(jax.random.key(options.seed), image.shape)
    start = np.clip(np.asarray(image.mean() + 0.1 * (noise - 0.5)), 0, 1)
    np.save(options.folder / "target.npy", np.asarray(image, np.float32))
    np.save(options.folder / "start.npy", start.astype(np.float32))
    labels = plx.models.PortillaSimoncelli(image.shape[-2:]).statistic_groups
    np.save(options.folder / "labels.npy", np.asarray(labels))
    return {}


def compare(options):
    columns = [f"plenoptic, {t} thread" + "s" * (t > 1) for t in options.threads]
    columns += ["plenoptax cold", "warm"]
    print("seconds from the start of the process to the first evaluation at or under the level")
    print("| texture | seed | level | " + " | ".join(columns) + " | evaluations |")
    print("|---" * (len(columns) + 4) + "|")
    ratios, memory = {"cold": [], "warm": []}, {"plenoptic": [], "cold": [], "warm": []}
    with tempfile.TemporaryDirectory() as temporary:
        for name in options.textures:
            for seed in range(options.seeds):
                folder = pathlib.Path(temporary) / f"{name}-{seed}"
                folder.mkdir()
                common = {"folder": folder, "name": name, "seed": seed, "level": LEVELS[name]}
                run = functools.partial(run_child, "texture_metamer", **common)
                run("start")
                theirs = [run("plenoptic", threads=number) for number in options.threads]
                cold, warm = (run("plenoptax", cache=folder / "cache") for _ in range(2))
                check(theirs[0], cold, run("judge"), "loss", LEVELS[name])
                best = min(theirs, key=lambda run: run["seconds"])
                for label, run in (("cold", cold), ("warm", warm)):
                    ratios[label].append(best["seconds"] / run["seconds"])
                    memory[label].append(run["peak"])
                memory["plenoptic"].append(best["peak"])
                seconds = [f"{run['seconds']:.1f}" for run in (*theirs, cold, warm)]
                counts = f"{len(best['losses'])} / {len(cold['losses'])}"
                row = [name, str(seed), str(LEVELS[name]), *seconds, counts]
                print("| " + " | ".join(row) + " |", flush=True)
    for label, values in ratios.items():
        print(f"times faster, {label}: median (range) {summarize(values)}")
    for label, values in memory.items():
        print(f"peak resident set, {label}: median (range) {summarize(values)} MiB")


def check(theirs, ours, verdict, quantity, level, agree=agree):
    """Refuse to compare times of results that disagree."""
    agree("loss of the starting image", ours["start_loss"], theirs["start_loss"], 1e-3)
    for name in ("plenoptic", "plenoptax"):
        value = verdict[name][quantity]
        # The two libraries round differently.
        if not value <= 1.02 * level:
            raise SystemExit(f"The {quantity} of {name} ended at {value:.2g}, above {level:.2g}.")


def take_turns(turns, is_quick):
    """Measure whole syntheses to equal errors by group, a seed for each pair."""
    error = 0.3 if is_quick else LARGEST_ERROR
    common = {"size": 128 if is_quick else 256, "error": error}

    def verify(theirs, ours, agree, case, folder):
        verdict = run_child("texture_metamer", "judge", folder=folder)
        check(theirs, ours, verdict, "error", error, agree)

    def numbers(run):
        return {"s": run["seconds"], "evaluations": run["evaluations"], "MiB": run["peak"]}

    cases = {
        name: functools.partial(lambda name, pair: {"name": name, "seed": pair, **common}, name)
        for name in ("brick", "grass")
    }
    take_syntheses(turns, "texture_metamer", cases, verify, numbers)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--role", choices=["plenoptic", "plenoptax", "start", "judge", "split"])
    parser.add_argument("--folder", type=pathlib.Path)
    parser.add_argument("--name")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--level", type=float)
    parser.add_argument("--error", type=float, help="the largest error by group, not the loss")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--max-evaluations", type=int, default=3000)
    parser.add_argument("--cache", type=pathlib.Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--textures", nargs="+", default=list(LEVELS))
    parser.add_argument("--split", action="store_true", help="the parts of one run instead")
    options = parser.parse_args()
    if options.role is None:
        (split if options.split else compare)(options)
        return
    roles = {
        "plenoptic": run_plenoptic,
        "plenoptax": run_plenoptax,
        "split": run_split,
        "judge": judge,
        "start": make_start,
    }
    found = roles[options.role](options)
    print(json.dumps(found | {"peak": peak_memory()}))


if __name__ == "__main__":
    main()
