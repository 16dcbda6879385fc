"""Measure the memory that compiled programs and interrupted runs keep (Linux).

    python tools/measure_programs.py 70
    python tools/measure_programs.py 10 --ctrl-c loop

The first synthesizes a metamer with each of so many models of different shapes, and prints the
memory above that of the first model: after every tenth model, at most, and after
`plenoptax.clear_caches`. The second synthesizes a texture so many times after a finished one, and
presses Ctrl-C in the loop or while JAX traces the model ("trace"), or never ("never").
"""

import argparse
import ctypes
import gc
import os
import pathlib
import signal

import jax

import plenoptax as plx
from plenoptax._progress import ProgressBar


def resident():
    """The resident set in MB, without memory that is free."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure_models(count):
    """Print the memory."""
    image, named = plx.data.brick()[:, :64, :64], {"max_steps": 2, "progress": False}
    key = jax.random.key(0)
    plx.metamer(image, plx.models.Gaussian(3), key=key, **named)
    start, largest = resident(), 0.0
    for index in range(count):
        model = plx.models.Gaussian((3 + 2 * (index % 29), 5 + 2 * (index // 29)))
        plx.metamer(image, model, key=key, **named)
        above = resident() - start
        largest = max(largest, above)
        if index % 10 == 9:
            print(f"{index + 1} models: {above:.0f} MB above the start", flush=True)
    plx.clear_caches()
    print(f"at most {largest:.0f} MB; after clear_caches {resident() - start:.0f} MB")


def measure_runs(count, moment):
    """Print the memory of runs of one model, which Ctrl-C ends at a moment."""
    image, pressed = plx.data.brick(), []
    texture = plx.models.PortillaSimoncelli(image.shape[-2:])
    update = ProgressBar.update

    def press(*arguments):
        if moment == "loop" and is_watched and not pressed:
            pressed.append(signal.raise_signal(signal.SIGINT))
        return update(*arguments)

    def synthesize():
        def model(x):
            if moment == "trace" and is_watched:
                signal.raise_signal(signal.SIGINT)
            return texture(x)

        pressed.clear()
        try:
            # A new function at each run would be a new program at each run.
            chosen = model if moment == "trace" and is_watched else texture
            key = jax.random.key(0)
            return plx.metamer(image, chosen, key=key, max_steps=20, progress=False).status
        except KeyboardInterrupt:
            return plx.Status.interrupted

    ProgressBar.update = press
    is_watched = False
    synthesize()
    before, is_watched = resident(), True
    for index in range(count):
        is_interrupted = bool(synthesize() == plx.Status.interrupted)
        if is_interrupted != (moment != "never"):
            raise ValueError(f"The run must be interrupted in {moment}, got {is_interrupted}.")
        print(f"{index + 1} runs: {resident() - before:.0f} MB above the first", flush=True)
    plx.clear_caches()
    print(f"after clear_caches {resident() - before:.0f} MB")


def main():
    """Measure what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--ctrl-c", choices=["loop", "trace", "never"])
    options = parser.parse_args()
    if options.ctrl_c is None:
        measure_models(options.count)
    else:
        measure_runs(options.count, options.ctrl_c)


if __name__ == "__main__":
    main()
