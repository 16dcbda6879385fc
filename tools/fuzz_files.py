"""Damage saved files at random and read each by every reader.

    python tools/fuzz_files.py           # 1,000 files
    python tools/fuzz_files.py 100 --seed 3

Half of the files are damaged in their bytes, half are written again by hand with a right digest.
Every reader must give back what was saved, or refuse with a ValueError that names the file.
"""

import argparse
import pathlib
import sys
import tempfile


sys.path.insert(0, str(pathlib.Path(__file__).parents[1]))

from tests.solve import damaged


def main():
    """Fuzz, and print the failures; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, nargs="?", default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        results = damaged.make_results()
        failures, num_accepted = damaged.fuzz(folder, results, options.count, seed=options.seed)
    print("\n".join(failures))
    print(f"{options.count} files: {len(failures)} failures, {num_accepted} times accepted")
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main())
