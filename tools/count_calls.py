"""Count what one call enters: files and functions of plenoptax, on the first and on a later call.

    python tools/count_calls.py            # plx.metamer(image, plx.models.Gaussian(7))
    python tools/count_calls.py --list     # with the names

Counted with `sys.setprofile`: Python functions whose code lies in the package, each once. Modules
are imported on first use; what they run while they are imported is not counted.
"""

import argparse
import collections
import os
import pathlib
import sys


# Another machine may have other devices, which changes the path.
os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax

import plenoptax as plx


ROOT = pathlib.Path(plx.__file__).parent

# What the user chose or what checks it; the rest is the way there.
CHOSEN = ("models/", "loss/", "process/", "validate.py")


class Profile:
    """The functions of the package that are entered while it is active."""

    def __init__(self) -> None:
        self.calls: collections.Counter = collections.Counter()
        self._num_imports = 0

    def __enter__(self) -> "Profile":
        sys.setprofile(self._note)
        return self

    def __exit__(self, *error: object) -> None:
        sys.setprofile(None)

    def _note(self, frame, event: str, argument: object) -> None:
        code = frame.f_code
        if not code.co_filename.startswith(str(ROOT)):
            return
        if code.co_name == "<module>" and event in ("call", "return"):
            self._num_imports += 1 if event == "call" else -1
        if event != "call" or self._num_imports or code.co_name == "<module>":
            return
        path = pathlib.Path(code.co_filename).relative_to(ROOT).as_posix()
        # Comprehensions and lambdas are parts of the function that they stand in.
        name = code.co_qualname.split(".<locals>.<")[0]
        self.calls[path, name] += 1


def synthesize(image: jax.Array, seed: int) -> None:
    """The call that is counted."""
    plx.metamer(
        image, plx.models.Gaussian(7), key=jax.random.key(seed), max_steps=20, progress=False
    )


def report(title: str, profile: Profile, *, names: bool) -> None:
    """Print the counts of one call."""
    files = {path for path, _ in profile.calls}
    rest = {path for path in files if not path.startswith(CHOSEN)}
    classes = {
        name.split(".")[0]
        for path, name in profile.calls
        if "." in name and path.startswith("solve/") and "<" not in name.split(".")[0]
    }
    print(f"{title}: {len(files)} files, {len(profile.calls)} functions")
    print(f"  apart from {', '.join(CHOSEN)}: {len(rest)} files")
    print(f"  classes of the loop: {', '.join(sorted(classes))}")
    if names:
        for path in sorted(files):
            entered = [(n, count) for (p, n), count in profile.calls.items() if p == path]
            print(f"    {path}: {len(entered)}")
            for name, count in sorted(entered):
                print(f"        {name} {count}")


def main() -> None:
    """Count the first call and a later one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--list", action="store_true", help="print the names")
    names = parser.parse_args().list
    image = plx.data.brick()
    for number, title in enumerate(("first call", "later call")):
        with Profile() as profile:
            synthesize(image, number)
        report(title, profile, names=names)


if __name__ == "__main__":
    main()
