"""Time two copies of the repository in turn, each run in a process of its own.

    python tools/compare_speed.py OLD NEW --pairs 7

OLD and NEW are folders with a copy each, such as git worktrees. Printed are the medians of the
seconds, the median of the ratios of a pair with its range, and the same for the old copy against
itself, which is what the machine alone does. Each job also writes how many programs were compiled.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile


# Written so that every version of the package runs them. Imports and data are not timed.
JOBS = {
    "texture": """
model = plx.models.PortillaSimoncelli((256, 256))
work = lambda: plx.metamer(brick, model, key=key, max_steps=120, progress=False)
""",
    "Gaussian metamer": """
model = plx.models.Gaussian(7)
work = lambda: plx.metamer(brick, model, key=key, max_steps=300, progress=False)
""",
    "batch of 16": """
model = plx.models.OnOff(31, pretrained=True)
images = jnp.stack([brick[:, i * 8 : i * 8 + 64, :64] for i in range(16)])
work = lambda: plx.metamer(images, model, key=key, batch=True, max_steps=100, progress=False)
""",
    "competition": """
image = brick[:, :128, :128]
work = lambda: plx.mad_competition(
    image, plx.metric.mse, plx.metric.ssim_distance, "min", key=key, max_steps=100, progress=False
)
""",
    "eigendistortions": """
model = plx.models.OnOff(31, pretrained=True)
image = brick[:, :64, :64]
work = lambda: plx.eigendistortions(image, model, method="block_lanczos", progress=False)
""",
}
SCRIPT = """
import json, sys, time
import jax, jax.numpy as jnp
import plenoptax as plx
key, brick = jax.random.key(0), plx.data.brick()
compiled = []
jax.monitoring.register_event_duration_secs_listener(
    lambda event, seconds, **rest: compiled.append(seconds) if "backend_compile" in event else None
)
JOB
times = []
for _ in range(2):
    started = time.perf_counter()
    work()
    times.append(time.perf_counter() - started)
print(json.dumps({"first": times[0], "second": times[1], "programs": len(compiled)}))
"""


def measure(folder: str, job: str, cache: str) -> dict[str, float]:
    """The seconds of the first call in a process and of the next, and the programs compiled."""
    environment = {**os.environ, "PYTHONPATH": folder, "MPLBACKEND": "Agg"}
    environment |= {
        "JAX_COMPILATION_CACHE_DIR": cache,
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT.replace("JOB", JOBS[job])]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])


def row(name: str, old: list[float], new: list[float]) -> str:
    """One row of the table."""
    ratios = [b / a for a, b in zip(old, new, strict=True)]
    # The old copy against itself, a pair later.
    noise = [b / a for a, b in zip(old, old[1:], strict=False)]
    return (
        f"| {name} | {statistics.median(old):.3g} | {statistics.median(new):.3g} | "
        f"{statistics.median(ratios):.3f} ({min(ratios):.3f}-{max(ratios):.3f}) | "
        f"{min(noise):.3f}-{max(noise):.3f} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("old")
    parser.add_argument("new")
    parser.add_argument("--pairs", type=int, default=7)
    parser.add_argument("--jobs", nargs="*", default=[*JOBS])
    options = parser.parse_args()
    print("| job | old, s | new, s | ratio, median (range) | old against itself |")
    print("|---|---|---|---|---|")
    for job in options.jobs:
        found = {"old": [], "new": []}
        folders = {"old": options.old, "new": options.new}
        with tempfile.TemporaryDirectory() as old, tempfile.TemporaryDirectory() as new:
            caches = {"old": old, "new": new}
            cold = {which: measure(folders[which], job, caches[which]) for which in found}
            for pair in range(options.pairs):
                # Whoever comes first finds the machine otherwise.
                for which in sorted(found, reverse=bool(pair % 2)):
                    found[which].append(measure(folders[which], job, caches[which]))
        print(row(f"{job}, warm cache", *columns(found, "first")))
        print(row(f"{job}, again", *columns(found, "second")), flush=True)
        print(
            f"| {job}, cold, once | {cold['old']['first']:.3g} | {cold['new']['first']:.3g} | "
            f"programs {cold['old']['programs']:g} and {cold['new']['programs']:g} | |",
            flush=True,
        )


def columns(found: dict[str, list], name: str) -> list[list[float]]:
    """The numbers of one kind, of the old copy and of the new."""
    return [[measured[name] for measured in found[which]] for which in ("old", "new")]


if __name__ == "__main__":
    main()
