from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array

from ._types import Device, PyTree


# The mesh axis along which the elements of a batch lie.
ELEMENTS = PartitionSpec("elements")


class Placement(NamedTuple):
    """Where the elements of a batch are, along the first axis of its arrays.

    Attributes:
        devices: The devices of this process that hold elements, in the order of the elements; each
            holds the same number.
        indices: The elements that this process holds, as indices of the whole batch.
        total: The number of elements of the whole batch.
    """

    devices: tuple[Device, ...]
    indices: range
    total: int

    @property
    def is_share(self) -> bool:
        """Whether other processes hold the rest of the batch."""
        return len(self.indices) < self.total


def find_placement(arrays: PyTree) -> Placement | None:
    """Return where the elements of arrays are; None if they are not distributed over devices.

    Args:
        arrays: Arrays with the elements along their first axis. Those that are not distributed have
            no say.

    Raises:
        ValueError: If an array is distributed along another axis, or two arrays differ.
    """
    leaves = [leaf for leaf in jax.tree.leaves(arrays) if _is_distributed(leaf)]
    found = {_placement_of(leaf) for leaf in leaves}
    if len(found) > 1:
        raise ValueError(
            "The arrays of a batch must be distributed over the same devices in the same order, "
            f"got {len(found)} different placements. Place all of them by one sharding with "
            "jax.device_put."
        )
    return next(iter(found), None)


def _is_distributed(leaf: Any) -> bool:
    """Return whether devices hold different parts of an array."""
    return _is_on_several_devices(leaf) and not leaf.sharding.is_fully_replicated


def _is_on_several_devices(leaf: Any) -> bool:
    is_concrete = isinstance(leaf, jax.Array) and not isinstance(leaf, Tracer)
    return is_concrete and len(leaf.sharding.device_set) > 1


def _placement_of(array: Array) -> Placement:
    parts = array.sharding.devices_indices_map(array.shape)
    starts: dict[int, Device] = {}
    for device, (along, *others) in parts.items():
        bounds = [
            part.indices(length) for part, length in zip(others, array.shape[1:], strict=True)
        ]
        if any(bound[:2] != (0, n) for bound, n in zip(bounds, array.shape[1:], strict=True)):
            raise ValueError(
                "A batch must be distributed along its first axis only, so that each device holds "
                f"whole elements, got {array.sharding}. Use NamedSharding(mesh, "
                "PartitionSpec(name)) with one name."
            )
        # Of the devices that hold the same elements, one computes them.
        starts.setdefault(along.indices(len(array))[0], device)
    here = jax.process_index()
    own = [start for start in sorted(starts) if starts[start].process_index == here]
    if not own:
        raise ValueError(
            f"Each process must hold elements of the batch, got none for process {here}. "
            "Distribute the batch over the devices of all processes."
        )
    length = len(array) // len(starts)
    indices = range(own[0], own[-1] + length)
    if len(indices) != length * len(own):
        raise ValueError(
            "The elements of a process must follow each other in the batch, got gaps in those of "
            f"process {here}. Build the mesh from jax.devices() in their order."
        )
    return Placement(tuple(starts[start] for start in own), indices, len(array))


def hold_own(arrays: PyTree, placement: Placement | None) -> PyTree:
    """Return the elements that this process holds, distributed over its devices.

    Args:
        arrays: Arrays with all elements along their first axis, or with those of this process.
        placement: The placement of the elements.
    """
    if placement is None:
        return arrays

    def hold(leaf: Any) -> Any:
        if _is_distributed(leaf) and not leaf.is_fully_addressable:
            own = _parts_on(leaf, placement.devices)
            shape = (len(placement.indices), *leaf.shape[1:])
            sharding = over_devices(placement.devices)
            return jax.make_array_from_single_device_arrays(shape, sharding, own)
        if placement.is_share and len(leaf) == placement.total:
            leaf = one_copy(leaf)[placement.indices.start : placement.indices.stop]
        return jax.device_put(leaf, over_devices(placement.devices))

    return jax.tree.map(hold, arrays)


def parts_of(array: Array, placement: Placement) -> list[Array]:
    """Return the elements that each device of this process holds, as arrays of that device."""
    return _parts_on(hold_own(array, placement), placement.devices)


def _parts_on(array: Array, devices: Sequence[Device]) -> list[Array]:
    shards = {shard.device: shard.data for shard in array.addressable_shards}
    return [shards[device] for device in devices]


def one_copy(array: Any) -> Any:
    """Return an array that several devices hold as an array of one of them; others as they are."""
    if not _is_on_several_devices(array):
        return array
    if not array.is_fully_replicated:
        raise ValueError(
            "An image must be on one device, or have a copy on each, got one of shape "
            f"{array.shape} in parts on several. Give batch=True if its first axis indexes images."
        )
    return array.addressable_data(0)


def place_like(array: Array, like: Array) -> Array:
    """Distribute an array over devices as another one is; else return it as it is."""
    if not _is_distributed(like):
        return array
    whole = np.asarray(array)
    return jax.make_array_from_callback(whole.shape, like.sharding, lambda part: whole[part])


def on_host(array: Any) -> np.ndarray:
    """Return an array as a NumPy array; of one in several processes, the part of this process."""
    if not isinstance(array, jax.Array) or array.is_fully_addressable:
        return np.asarray(array)
    if array.is_fully_replicated:
        return np.asarray(array.addressable_data(0))
    return np.asarray(hold_own(array, find_placement(array)))


def spread_over(count: int, *like: Any) -> Array:
    """Return the numbers of elements, distributed as images are.

    Args:
        count: The number of elements.
        *like: Arrays. The numbers are distributed over the devices that hold the first of those
            that several devices hold.
    """
    numbers = np.arange(count)
    several = [array for array in like if _is_on_several_devices(array)]
    if not several:
        return jnp.asarray(numbers)
    devices = sorted(several[0].sharding.device_set, key=lambda device: device.id)
    if count % len(devices):
        raise ValueError(
            "num_seeds must be a multiple of the number of devices that hold the image, "
            f"{len(devices)}, got {count}. Take such a multiple, or put the image on fewer devices."
        )
    sharding = over_devices(devices)
    return jax.make_array_from_callback((count,), sharding, lambda index: numbers[index])


def over_devices(devices: Sequence[Device]) -> NamedSharding:
    """Return the sharding that distributes the first axis of an array evenly over devices."""
    return NamedSharding(mesh_of(devices), ELEMENTS)


def on_each(devices: Sequence[Device]) -> NamedSharding:
    """Return the sharding that gives each device a copy of an array."""
    return NamedSharding(mesh_of(devices), PartitionSpec())


def mesh_of(devices: Sequence[Device]) -> Mesh:
    """Return a mesh with one axis."""
    return Mesh(np.asarray(devices), ("elements",))
