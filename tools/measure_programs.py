"""Measure the memory that compiled programs keep (Linux).

    python tools/measure_programs.py 70

Synthesizes a metamer with each of so many models of different shapes, and prints the memory above
that of the first model: after every tenth model, at most, and after `plenoptax.clear_caches`.
"""

import ctypes
import gc
import os
import pathlib
import sys

import jax

import plenoptax as plx


def resident():
    """The resident set in MB, without memory that is free."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main(count):
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


if __name__ == "__main__":
    main(int(sys.argv[1]))
