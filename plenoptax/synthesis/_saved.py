import os
from importlib import metadata
from typing import Any, TypeVar

import equinox as eqx
import numpy as np

from .._archive import Archive, check_finite, write_archive
from .._packing import Kinds, pack, unpack
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


# The fields that hold images.
_IMAGES = {"image", "distortions", "eigendistortions"}


Saved = TypeVar("Saved", bound="AbstractSaved")


class AbstractSaved(eqx.Module):
    """A result that is saved by its fields, because no solver state belongs to it.

    Attributes:
        status: How it ended: an `EigenStatus`, a `Status`, or a dictionary of them.
    """

    status: eqx.AbstractVar[Any]

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
    kinds, kind = _kinds(), archive.meta.get("kind")
    if kind not in [known.__name__ for known in kinds.classes]:
        raise ValueError(
            f"{archive.path} must hold a result that plenoptax {metadata.version('plenoptax')} "
            f"knows, got {kind!r}. Load it with the version that saved it."
        )
    archive.check_entries(required=["result"])
    found = unpack(archive.meta["result"], archive, kinds)
    with archive.reading():
        if type(found).__name__ != kind or not isinstance(found, AbstractSaved):
            raise ValueError(f"it holds a {type(found).__name__}")
        status = found.status
        statuses = status.values() if isinstance(status, dict) else [status]
        if not any(_is_nonfinite(one) for one in statuses):
            for name in _IMAGES & set(vars(found)):
                check_finite(name, np.asarray(getattr(found, name)))
    return found


def _is_nonfinite(status: Any) -> bool:
    kinds = (Status, EigenStatus)
    return any(isinstance(status, kind) and bool(status == kind.nonfinite) for kind in kinds)


def _kinds() -> Kinds:
    # The modules that define the results import this file.
    results = AbstractSaved.__subclasses__()
    statuses = {Status: _STATUSES, EigenStatus: _EIGEN_STATUSES}
    return Kinds((*results, LanczosState, PowerState), statuses)
