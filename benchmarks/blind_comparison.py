"""Texture metamers by plenoptic and plenoptax in equal time, ranked before their makers are known.

Both start from one image, with imports and compilation in the time, each in a process of its own
with one thread. The time is that of the processor, so that other programs do not count. plenoptic
minimizes its texture loss by L-BFGS with the settings of its documentation: at most 10 evaluations
a step, 100 pairs, strong Wolfe line search, noise of 0.1 around the mean of the photograph as the
start. Its image is that of the smallest loss so far. plenoptax has its defaults, and its image is
that of the last accepted step.

    python -m benchmarks.blind_comparison make FOLDER --seconds 40
    python -m benchmarks.blind_comparison reveal FOLDER left same right ...

The first command draws a secret key, writes one picture for each texture (the photograph in the
middle, the metamers at its sides, in an order drawn from the key), and prints nothing about the
order. If it was interrupted, it continues with the next texture. The second command takes a
person's ranking, which metamer looks more like the texture, then prints the order, the key and the
tables of errors. plenoptic computes the weighted norms, plenoptax the errors by group.
"""

import argparse
import json
import os
import pathlib
import secrets
import subprocess
import sys
import time

import numpy as np

from benchmarks.shared import synthesize_plenoptic_texture


SIZE = 256
# Of scikit-image: file, first row, first column.
CROPS = {
    "tissue": ("ihc.png", 128, 0),
    "galaxies": ("hubble_deep_field.jpg", 300, 300),
    "coins": ("coins.png", 20, 60),
    "moon": ("moon.png", 0, 0),
    "retina": ("retina.jpg", 420, 850),
}
TEXTURES = ("brick", "grass", "gravel", *CROPS)
ANSWERS = ("left", "right", "same")


def load(name):
    """A photograph of 256 x 256 pixels, gray."""
    import plenoptax as plx

    if name not in CROPS:
        return np.asarray(plx.data.get(name), np.float32)
    import skimage.data

    file, row, column = CROPS[name]
    path = pathlib.Path(skimage.data.__file__).parent / file
    image = plx.data.load_images(path, as_gray=True)
    return np.asarray(image[:, row : row + SIZE, column : column + SIZE], np.float32)


def run_plenoptic(folder, seconds):
    import torch

    torch.set_num_threads(1)
    image, start = (
        torch.from_numpy(np.load(folder / f"{x}.npy"))[None] for x in ("target", "start")
    )
    best, count = [np.inf, start], [0]

    def watch(loss, found, wanted, image):
        count[0] += 1
        if loss < best[0]:
            best[:] = loss, image.clone()
        return time.process_time() > seconds

    synthesize_plenoptic_texture(image, start, watch)
    return best[1].numpy()[0], count[0]


def run_plenoptax(folder, seconds):
    import jax.numpy as jnp

    import plenoptax as plx

    image, start = (jnp.asarray(np.load(folder / f"{x}.npy")) for x in ("target", "start"))
    problem = plx.Metamer(image, plx.models.PortillaSimoncelli(image.shape[-2:]))
    solver = plx.Solver(plx.lbfgs(30), stop=plx.stop.Never())
    state, count = plx.init(problem, solver, initial_image=start), 0
    while time.process_time() < seconds:
        state, trace = plx.run(problem, solver, state, 10, progress=False)
        count += len(trace)
    return np.asarray(plx.Result(problem, state, trace, solver).image), count


RUNS = {"plenoptic": run_plenoptic, "plenoptax": run_plenoptax}


def use_one_thread():
    """Make JAX believe that there is one core, and let the threads use any."""
    import jax

    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    jax.devices()
    for task in os.listdir("/proc/self/task"):
        os.sched_setaffinity(int(task), cores)


def child(folder, name, seconds):
    """Run a library with one thread in a process of its own."""
    one = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
    command = [
        sys.executable,
        "-m",
        "benchmarks.blind_comparison",
        name,
        str(folder),
        "--seconds",
        str(seconds),
    ]
    subprocess.run(command, check=True, env={**os.environ, **one})


def make(folder, seconds):
    """Write the photographs, the metamers and the pictures."""
    import imageio.v3 as iio
    import jax

    folder.mkdir(parents=True, exist_ok=True)
    secret = folder / "key.json"
    if not secret.exists():
        secret.write_text(json.dumps({"key": secrets.randbits(32), "seconds": seconds}))
    key = json.loads(secret.read_text())["key"]
    for index, name in enumerate(TEXTURES):
        one = folder / name
        if (folder / f"{name}.png").exists():
            continue
        one.mkdir(exist_ok=True)
        image = load(name)
        noise = np.asarray(jax.random.uniform(jax.random.key(index), image.shape))
        start = np.clip(image.mean() + 0.1 * (noise - 0.5), 0, 1).astype(np.float32)
        np.save(one / "target.npy", image)
        np.save(one / "start.npy", start)
        # Whose turn is first changes too.
        for library in sorted(RUNS, reverse=index % 2):
            child(one, library, seconds)
        left, right = (np.load(one / f"{library}.npy") for library in order(key, name))
        gap = np.ones((SIZE, 8))
        row = np.hstack([left[0], gap, image[0], gap, right[0]])
        iio.imwrite(folder / f"{name}.png", np.uint8(np.clip(row, 0, 1) * 255 + 0.5))
        print(f"{name}: {folder / name}.png", flush=True)


def order(key, name):
    """The libraries from left to right."""
    generator = np.random.default_rng([key, TEXTURES.index(name)])
    return [sorted(RUNS)[i] for i in generator.permutation(2)]


def measure(folder):
    """By library, the weighted norm by plenoptic, evaluations, and relative errors by group."""
    import jax.numpy as jnp
    import plenoptic as po
    import torch

    import plenoptax as plx
    from plenoptax.synthesis._judge import judge

    target = np.load(folder / "target.npy")
    model = po.models.PortillaSimoncelli(target.shape[-2:])
    loss = po.loss.portilla_simoncelli_loss_factory(model, torch.from_numpy(target)[None])
    ours = plx.models.PortillaSimoncelli(target.shape[-2:])
    found = {}
    for name in RUNS:
        image = np.load(folder / f"{name}.npy")
        tensors = (torch.from_numpy(x)[None] for x in (image, target))
        norm = loss(*(model(x) for x in tensors)).item()
        arrays = (ours(jnp.asarray(x)) for x in (image, target))
        groups = judge(ours, *arrays, None)
        errors = {group: value.relative_error for group, value in groups.items()}
        count = json.loads((folder / f"{name}.json").read_text())
        found[name] = {"norm": norm, "errors": errors, "count": count}
    return found


def reveal(folder, ranks):
    """Print the order, the ranking, and the tables."""
    done = [name for name in TEXTURES if (folder / f"{name}.png").exists()]
    if len(ranks) != len(done) or not set(ranks) <= set(ANSWERS):
        raise SystemExit(f"give an answer of {', '.join(ANSWERS)} for each of {', '.join(done)}")
    facts = json.loads((folder / "key.json").read_text())
    print(f"key {facts['key']}; {facts['seconds']:g} s of CPU time for each metamer\n")
    heads = "texture", "left", "right", "preferred", "norm by plenoptic", "plenoptax", "evaluations"
    print("| " + " | ".join(heads) + " |")
    print("|---|---|---|---|---|---|---|")
    found = {}
    for name, rank in zip(done, ranks, strict=True):
        found[name] = one = measure(folder / name)
        sides = order(facts["key"], name)
        chosen = "same" if rank == "same" else sides[ANSWERS.index(rank)]
        norms = [f"{one[library]['norm']:.4g}" for library in RUNS]
        counts = " / ".join(str(one[library]["count"]) for library in RUNS)
        print("| " + " | ".join([name, *sides, chosen, *norms, counts]) + " |")
    print("\nRelative errors of plenoptic over those of plenoptax, by group:\n")
    print("| group | " + " | ".join(done) + " | geometric mean |")
    print("|---" * (len(done) + 2) + "|")
    for group in found[done[0]]["plenoptax"]["errors"]:
        ratios = [
            one["plenoptic"]["errors"][group] / one["plenoptax"]["errors"][group]
            for one in found.values()
        ]
        cells = [f"{ratio:.2g}" for ratio in (*ratios, np.exp(np.mean(np.log(ratios))))]
        print(f"| {group} | " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("role", choices=["make", "reveal", *RUNS])
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("ranks", nargs="*", help="left, right or same, for each texture")
    parser.add_argument("--seconds", type=float, default=40)
    options = parser.parse_args()
    if options.role == "make":
        make(options.folder, options.seconds)
    elif options.role == "reveal":
        reveal(options.folder, options.ranks)
    else:
        use_one_thread()
        image, count = RUNS[options.role](options.folder, options.seconds)
        np.save(options.folder / f"{options.role}.npy", image)
        (options.folder / f"{options.role}.json").write_text(json.dumps(count))


if __name__ == "__main__":
    main()
