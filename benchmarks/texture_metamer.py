"""Time texture metamers of the Portilla-Simoncelli model, plenoptic's and plenoptax's.

Both start from the same image, read from a file, and run until an evaluation finds the weighted
loss at or under a level. Each run is a process of its own, timed from its start to that evaluation,
with imports, compilation and everything else; the two libraries take turns. plenoptic runs with its
own recipe: L-BFGS, 10 evaluations a step, a history of 100, strong Wolfe. plenoptax minimizes its
default, the same loss whitened, and is stopped by the weighted loss itself.

plenoptax runs twice: cold, with an empty compilation cache, and warm, with the one that is left.
Before the times, the two libraries' weighted losses of the starting image and of both results are
compared.

    python benchmarks/texture_metamer.py --seeds 3 --threads 1 2

With ``--split`` it says instead where the time of the command line's ``metamer brick`` goes, for
500 steps of plenoptax, cold and warm: wall and CPU seconds, medians (range) of three processes.

    python benchmarks/texture_metamer.py --split --textures brick
"""

import argparse
import contextlib
import json
import os
import pathlib
import resource
import statistics
import subprocess
import sys
import tempfile
import time


LEVELS = {"brick": 0.006, "grass": 0.0011, "gravel": 0.0013}


def run_plenoptic(options):
    os.environ["OMP_NUM_THREADS"] = str(options.threads)
    import numpy as np
    import plenoptic as po
    import torch

    torch.set_num_threads(options.threads)
    image = torch.from_numpy(np.load(options.folder / "target.npy"))[None]
    start = torch.from_numpy(np.load(options.folder / "start.npy"))[None]
    model = po.models.PortillaSimoncelli(image.shape[-2:])
    weighted = po.loss.portilla_simoncelli_loss_factory(model, image)
    target = model(image)
    start_loss = weighted(model(start), target).item()

    class Reached(Exception):
        pass

    losses = []

    def loss(*arguments):
        value = weighted(*arguments)
        losses.append(value.item())
        if losses[-1] <= options.level:
            raise Reached
        return value

    metamer = po.Metamer(image, model, loss_function=weighted)
    metamer.setup(
        start,
        optimizer=torch.optim.LBFGS,
        optimizer_kwargs={
            "lr": 1,
            "max_iter": 10,
            "max_eval": 10,
            "history_size": 100,
            "line_search_fn": "strong_wolfe",
        },
    )
    # Set after the checks of the constructor, whose evaluations are none of the synthesis'.
    metamer._loss_function = loss
    with contextlib.suppress(Reached):
        metamer.synthesize(max_iter=options.max_evaluations // 10, stop_criterion=0)
    np.save(options.folder / "plenoptic.npy", metamer.metamer.detach().numpy()[0])
    return {"start_loss": start_loss, "losses": losses}


def run_plenoptax(options):
    import jax

    if options.cache:
        jax.config.update("jax_compilation_cache_dir", str(options.cache))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    import jax.numpy as jnp
    import numpy as np

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

    image = jnp.asarray(np.load(options.folder / "target.npy"))
    start = jnp.asarray(np.load(options.folder / "start.npy"))
    model = plx.models.PortillaSimoncelli(image.shape[-2:])
    # The defaults of textures but for the stop rule.
    solver = plx.Solver(plx.lbfgs(30), stop=Level(jnp.asarray(options.level)))
    result = plx.metamer(
        image,
        model,
        initial_image=start,
        solver=solver,
        max_steps=options.max_evaluations,
        progress=False,
    )
    np.save(options.folder / "plenoptax.npy", np.asarray(result.image))
    losses = result.trace.terms["weighted_loss"]
    # The covariance that whitens the loss takes 256 evaluations of the model, without a gradient.
    return {"start_loss": float(losses[0]), "losses": losses[:-1].tolist()}


def run_split(options):
    """Do what ``python -m plenoptax metamer`` does, and take the time of each part."""
    parts, last = {}, [time.perf_counter(), time.process_time()]

    def finish(part):
        now = [time.perf_counter(), time.process_time()]
        parts[part] = [after - before for after, before in zip(now, last, strict=True)]
        last[:] = now

    import jax

    jax.config.update("jax_compilation_cache_dir", str(options.cache))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    import plenoptax as plx
    import plenoptax.cli

    finish("imports")
    image = plx.data.get(options.name)
    model = plx.models.PortillaSimoncelli(image.shape[-2:])
    finish("image and masks")
    base = plx.loss.portilla_simoncelli_loss_factory(model, image)
    finish("target and weights")
    loss = plx.loss.whitened_loss_factory(model, image, base, channelwise=True)
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
                    runs[label].append(child("split", folder, name=name, seed=0, cache=cache))
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
    """The weighted losses of both results by plenoptic."""
    import numpy as np
    import plenoptic as po
    import torch

    image = torch.from_numpy(np.load(options.folder / "target.npy"))[None]
    model = po.models.PortillaSimoncelli(image.shape[-2:])
    loss = po.loss.portilla_simoncelli_loss_factory(model, image)
    target = model(image)
    found = {}
    for name in ("plenoptic", "plenoptax"):
        result = torch.from_numpy(np.load(options.folder / f"{name}.npy"))[None]
        found[name] = loss(model(result), target).item()
    return found


def child(role, folder, **options):
    """Run a part in a process of its own; its numbers, its wall time and its peak memory."""
    command = [sys.executable, __file__, "--role", role, "--folder", str(folder)]
    for name, value in options.items():
        command += [f"--{name.replace('_', '-')}", str(value)]
    started = time.perf_counter()
    output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return json.loads(output.splitlines()[-1]) | {"seconds": time.perf_counter() - started}


def make_start(name, seed, folder):
    """Write a photograph and its starting image; plenoptax's own, so that neither is favored."""
    import jax
    import numpy as np

    import plenoptax as plx

    image = plx.data.get(name)
    noise = jax.random.uniform(jax.random.key(seed), image.shape)
    start = np.clip(np.asarray(image.mean() + 0.1 * (noise - 0.5)), 0, 1)
    np.save(folder / "target.npy", np.asarray(image, np.float32))
    np.save(folder / "start.npy", start.astype(np.float32))
    return {}


def summarize(values):
    return f"{statistics.median(values):.1f} ({min(values):.1f}-{max(values):.1f})"


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
                child("start", folder, name=name, seed=seed)
                level = {"level": LEVELS[name], "max_evaluations": 3000}
                cache = folder / "cache"
                theirs = [child("plenoptic", folder, threads=t, **level) for t in options.threads]
                cold = child("plenoptax", folder, cache=cache, **level)
                warm = child("plenoptax", folder, cache=cache, **level)
                verdict = child("judge", folder)
                check(theirs[0], cold, verdict, LEVELS[name])
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


def check(theirs, ours, verdict, level):
    """Refuse to compare times of results that disagree."""
    difference = abs(theirs["start_loss"] / ours["start_loss"] - 1)
    if difference > 1e-3:
        raise SystemExit(f"the losses of the starting image differ by {difference:.2e}")
    for name in ("plenoptic", "plenoptax"):
        if verdict[name] > 1.1 * level:
            raise SystemExit(f"{name} stopped at {verdict[name]:.6f}, above the level {level}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--role", choices=["plenoptic", "plenoptax", "start", "judge", "split"])
    parser.add_argument("--folder", type=pathlib.Path)
    parser.add_argument("--name")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--level", type=float)
    parser.add_argument("--max-evaluations", type=int)
    parser.add_argument("--cache", type=pathlib.Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--textures", nargs="+", default=list(LEVELS))
    parser.add_argument("--split", action="store_true", help="the parts of one run instead")
    options = parser.parse_args()
    if options.role is None:
        (split if options.split else compare)(options)
        return
    if options.role == "plenoptic":
        options.threads = options.threads[0]
        found = run_plenoptic(options)
    elif options.role == "plenoptax":
        found = run_plenoptax(options)
    elif options.role == "split":
        found = run_split(options)
    elif options.role == "judge":
        found = judge(options)
    else:
        found = make_start(options.name, options.seed, options.folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps(found | {"peak": peak}))


if __name__ == "__main__":
    main()
