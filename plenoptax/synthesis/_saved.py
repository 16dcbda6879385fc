import os
from typing import TypeVar

import equinox as eqx

from .._archive import Archive, Kinds, pack, unpack, write_archive
from ..linalg import EigenStatus, LanczosState, PowerState
from ..solve import Status


_STATUSES = ("running", "plateau", "step_limit", "nonfinite", "interrupted")
_EIGEN_STATUSES = (
    "converged",
    "stagnated",
    "product_limit",
    "unproven",
    "null_space",
    "ridge_dominated",
    "nonfinite",
)


Saved = TypeVar("Saved", bound="AbstractSaved")


class AbstractSaved(eqx.Module):
    """A result that does not come from the loop; its file holds just its fields."""

    def save(self, path: str | os.PathLike) -> None:
        """Write the result to a file, as `plenoptax.io.save` does.

        The file is a NumPy ``.npz`` archive with a JSON text. It contains no code, can be read
        without plenoptax, and appears only when it is complete.

        Args:
            path: The file to write; an existing file is replaced.

        Raises:
            FileNotFoundError: If the folder does not exist.
        """
        arrays, name = {}, type(self).__name__
        write_archive(path, {"kind": name, "result": pack(self, "", arrays, _kinds())}, arrays)

    @classmethod
    def load(cls: type[Saved], path: str | os.PathLike) -> Saved:
        """Read a result that `save` wrote.

        Args:
            path: The file.

        Returns:
            The same result, bit for bit, with its arrays on the default device.

        Raises:
            FileNotFoundError: If the file does not exist.
            ValueError: If the file is of another kind, is damaged, contains something else, or
                contains float64 numbers while JAX is set to 32 bits.
        """
        with Archive(path) as archive:
            found = read_saved(archive)
        if not isinstance(found, cls):
            raise ValueError(
                f"{path} must hold {cls.__name__}, got {type(found).__name__}. Load any kind of "
                "result with plenoptax.io.load_result."
            )
        return found


def read_saved(archive: Archive) -> AbstractSaved:
    """Return the result in an open file."""
    kinds, kind = _kinds(), archive.meta["kind"]
    if kind not in [known.__name__ for known in kinds.classes]:
        raise ValueError(
            f"{archive.path} must hold a result that this version knows, got {kind!r}."
        )
    return unpack(archive.meta["result"], archive, kinds)


def _kinds() -> Kinds:
    # The modules that define the results import this file.
    results = AbstractSaved.__subclasses__()
    statuses = {Status: _STATUSES, EigenStatus: _EIGEN_STATUSES}
    return Kinds((*results, LanczosState, PowerState), statuses)
