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
    """A result that no loop made: what its fields hold is all there is to save of it."""

    def save(self, path: str | os.PathLike) -> None:
        """Write it to a file, as `plenoptax.io.save` does.

        The file is a NumPy ``.npz`` archive with a JSON text: it holds no code, can be read without
        plenoptax, and appears when it is whole.

        Args:
            path: Where to; an existing file is replaced.

        Raises:
            FileNotFoundError: If there is no such folder.
        """
        arrays, name = {}, type(self).__name__
        write_archive(path, {"kind": name, "result": pack(self, "", arrays, _kinds())}, arrays)

    @classmethod
    def load(cls: type[Saved], path: str | os.PathLike) -> Saved:
        """Read what `save` wrote.

        Args:
            path: The file.

        Returns:
            The same, bit for bit, its arrays on the default device.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file is no such file, is damaged or holds something else, or holds
                float64 numbers while JAX is set to 32 bits.
        """
        with Archive(path) as archive:
            found = read_saved(archive)
        if not isinstance(found, cls):
            raise ValueError(
                f"{path} must hold {cls.__name__}, got {type(found).__name__}: "
                "plenoptax.io.load_result loads whatever it is."
            )
        return found


def read_saved(archive: Archive) -> AbstractSaved:
    """The result in an open file."""
    kinds, kind = _kinds(), archive.meta["kind"]
    if kind not in [known.__name__ for known in kinds.classes]:
        raise ValueError(f"{archive.path} holds {kind!r}, which this version does not know.")
    return unpack(archive.meta["result"], archive, kinds)


def _kinds() -> Kinds:
    # The results are defined where they are made, which imports this file.
    results = AbstractSaved.__subclasses__()
    statuses = {Status: _STATUSES, EigenStatus: _EIGEN_STATUSES}
    return Kinds((*results, LanczosState, PowerState), statuses)
