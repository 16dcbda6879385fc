"""Networks of several frameworks as models that mark the outputs of their submodules.

A framework is found among the modules that are already imported: who has a network of a framework
has imported it.
"""

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar, final

import equinox as eqx
import jax

from ..._answers import inside
from ..._function import AbstractFunction
from ..._types import PyTree
from ._marks import mark_output


# The evaluation mode of layers, as attributes and as arguments of calls.
_FLAGS = ("deterministic", "inference", "use_running_average")


def as_model(network: Any) -> Any:
    """Return a network as a model whose parameters are leaves.

    Args:
        network: An Equinox module, a Flax NNX module, a bound Flax linen module, another callable,
            or a partial or compiled function of one of these.

    Raises:
        TypeError: If it is not callable.
        ValueError: If it is a linen module without variables, or in training mode.
    """
    if isinstance(network, functools.partial | eqx.Partial):
        return eqx.Partial(as_model(network.func), *network.args, **network.keywords)
    nnx, linen = sys.modules.get("flax.nnx"), sys.modules.get("flax.linen")
    is_linen = linen is not None and isinstance(network, linen.Module)
    if nnx is not None and isinstance(network, nnx.Module):
        _check_modules(nnx.iter_modules(network))
        return NNXNetwork(*nnx.split(network))
    if is_linen and network.scope is not None:
        return LinenNetwork(*network.unbind())
    if is_linen or (isinstance(network, tuple) and len(network) == 2):
        raise ValueError(
            "A linen module must be bound to its variables, got "
            f"{type(network).__name__}. Give module.bind(variables)."
        )
    wrapped = inside(network)
    if wrapped is not None and isinstance(as_model(wrapped), eqx.Module):
        return as_model(wrapped)
    if not callable(network):
        raise TypeError(
            "The network must be an Equinox module, a Flax module or another callable, got "
            f"{type(network).__name__}."
        )
    if isinstance(network, eqx.Module):
        _check_modules(_inference_flags(network))
    return network


def marked(model: Callable) -> Any:
    """Return a model that computes the same and marks the outputs of its submodules."""
    if isinstance(model, eqx.Partial):
        return eqx.Partial(marked(model.func), *model.args, **model.keywords)
    is_other = isinstance(model, NNXNetwork | LinenNetwork) or not isinstance(model, eqx.Module)
    return model if is_other else _mark_submodules(model, "")


@final
class NNXNetwork(AbstractFunction):
    """A Flax NNX module as a function of its state.

    Attributes:
        graph: Its structure.
        state: Its variables.
    """

    channels_last: ClassVar[bool] = True
    graph: Any = eqx.field(static=True)
    state: PyTree

    def __call__(self, image: Any, *args: Any, **kwargs: Any) -> Any:
        """Call the module, and mark the outputs of its submodules."""
        nnx = sys.modules["flax.nnx"]
        # It belongs to this call alone, so its classes may change.
        network = nnx.merge(self.graph, self.state)
        for path, module in [*nnx.iter_modules(network)]:
            if path and callable(module):
                kind = _marking_class(type(module), ".".join(map(str, path)))
                object.__setattr__(module, "__class__", kind)
        return network(image, *args, **kwargs)


@final
class LinenNetwork(AbstractFunction):
    """A Flax linen module as a function of its variables.

    Attributes:
        module: The module without variables.
        variables: The variables.
    """

    channels_last: ClassVar[bool] = True
    module: Any = eqx.field(static=True)
    variables: PyTree

    def __call__(self, image: Any, *args: Any, **kwargs: Any) -> Any:
        """Apply the module, and mark the outputs of its submodules."""

        def mark(function: Callable, args: tuple, kwargs: dict, context: Any) -> Any:
            output, path = function(*args, **kwargs), context.module.path
            is_layer = path and context.method_name == "__call__"
            return mark_output(".".join(path), output) if is_layer else output

        with sys.modules["flax.linen"].intercept_methods(mark):
            return self.module.apply(self.variables, image, *args, **kwargs)


def refuse_training(given: str) -> None:
    """Raise an error about a network in training mode."""
    raise ValueError(
        f"The network must be in evaluation mode, got {given}. Use equinox.nn.inference_mode("
        "model) with Equinox, model.eval() with Flax NNX, and arguments such as train=False with "
        "Flax linen: functools.partial(module.bind(variables), train=False)."
    )


def _check_modules(modules: Iterable[tuple[Any, Any]]) -> None:
    """Refuse modules in training mode, given their paths."""
    for path, module in modules:
        place = path if isinstance(path, str) else ".".join(map(str, path))
        _check_flags(vars(module), type(module), place)


def _check_flags(given: Mapping[str, Any], kind: type, place: str) -> None:
    for flag in _FLAGS:
        if given.get(flag) is False:
            refuse_training(
                f"{kind.__name__} with {flag}=False" + (f" at {place}" if place else "")
            )


def _inference_flags(model: eqx.Module) -> Iterator[tuple[str, Any]]:
    """Yield the layers of an Equinox module that have an evaluation mode, with their paths."""

    def has_flag(part: Any) -> bool:
        return isinstance(part, eqx.Module) and hasattr(part, "inference")

    for path, part in jax.tree_util.tree_leaves_with_path(model, is_leaf=has_flag):
        if has_flag(part):
            yield jax.tree_util.keystr(path, simple=True, separator="."), part


def _mark_submodules(module: Any, prefix: str) -> Any:
    def mark(path: Any, part: Any) -> Any:
        if not isinstance(part, eqx.Module):
            return part
        name = prefix + jax.tree_util.keystr(path, simple=True, separator=".")
        inner = _mark_submodules(part, f"{name}.")
        return _as_marking(inner, name) if callable(part) else inner

    def is_submodule(part: Any) -> bool:
        return part is not module and isinstance(part, eqx.Module)

    return jax.tree_util.tree_map_with_path(mark, module, is_leaf=is_submodule)


def _as_marking(module: Any, name: str) -> Any:
    made = object.__new__(_marking_class(type(module), name))
    for field, value in vars(module).items():
        object.__setattr__(made, field, value)
    return made


@functools.cache
def _marking_class(kind: Any, name: str) -> Any:
    """Return a subclass whose calls mark their output, so that it passes for what it marks.

    A wrapper would not: `equinox.nn.Sequential` asks layers for their class, and networks read
    attributes of their layers.
    """

    signature = inspect.signature(kind.__call__)

    class Marking(kind):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            with contextlib.suppress(TypeError):  # which the call itself raises
                given = signature.bind(self, *args, **kwargs).arguments
                _check_flags(given | kwargs, kind, name)
            return mark_output(name, kind.__call__(self, *args, **kwargs))

    return Marking
