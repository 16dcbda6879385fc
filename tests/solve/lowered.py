"""The programs of a synthesis as text, lowered for devices that this machine need not have."""

import collections
import re

import equinox as eqx
import jax
import jax.export
import jax.numpy as jnp

import plenoptax as plx
from plenoptax._compiled import plan_loop, plan_steps
from plenoptax.solve._loop import traced_step
from plenoptax.solve._run import _take_chunk, _take_step


Device = collections.namedtuple("Device", "platform")


def lower(problem, platform, driver=None):
    """Return the StableHLO text of all programs that take the steps of a problem on a platform.

    The driver is that of the plan, unless it is given.
    """
    solver = plx.Solver(plx.lbfgs(3), stop=plx.stop.Never())
    # Only its shapes, so that nothing is compiled.
    state = eqx.filter_eval_shape(plx.init, problem, solver, key=jax.random.key(0))
    traced, _, _ = eqx.filter_make_jaxpr(traced_step)(problem, solver, state)
    size = sum(leaf.size for leaf in jax.tree.leaves(state.z)) // problem.num_elements
    plan = plan_loop(traced.jaxpr, {Device(platform)}, size, problem.num_elements)
    limit = jnp.asarray(3, jnp.int32)
    programs = [(_take_step, ((problem, solver), state))]
    if (driver or plan.driver) == "chunk":
        programs.append((_take_chunk, ((problem, solver, limit), state, plan.in_turn)))
    return [_export(take, given, platform) for take, given in programs]


def _export(function, given, platform):
    arrays, static = eqx.partition(given, lambda leaf: hasattr(leaf, "dtype"))

    def program(arrays):
        return eqx.filter(function(*eqx.combine(arrays, static)), eqx.is_array)

    return jax.export.export(jax.jit(program), platforms=[platform])(arrays).mlir_module()


def faults(text, platform):
    """Return what a program must not contain, as a set of words."""
    found = set()
    if re.search(r"[<x]f64>", text):
        found.add("float64")
    # Only CPUs need a library, LAPACK. Any other call could be a callback or a move to the host.
    called = set(re.findall(r"custom_call @(\w+)", text))
    found |= {name for name in called if platform != "cpu" or not name.startswith("lapack_")}
    found |= set(re.findall(r"stablehlo\.(send|recv|infeed|outfeed)\b", text))
    sizes = {"size": 1, "num_equations": 1, "has_convolutions": True}
    is_slow = plan_steps(platform, (0, 10), **sizes).driver == "host"
    if is_slow and any(map(_has_convolution_over_channels, _loops(text))):
        found.add("slow convolution")
    return found


def _has_convolution_over_channels(text):
    form = r"stablehlo\.convolution.*\]x\[([^]]*)\]->.*: \(tensor<[^>]*>, tensor<([^>]*)>\)"
    for labels, shape in re.findall(form, text):
        of = dict(zip(labels.split(", "), shape.split("x"), strict=False))
        if max(int(of["i"]), int(of["o"])) > 1:
            return True
    return False


def _loops(text):
    """Return the loops of a module, and the functions that they call."""
    names = r"func\.func \w+ @([\w.]+)"
    starts = [*re.finditer(names, text)]
    ends = [match.start() for match in starts[1:]] + [len(text)]
    functions = {m[1]: text[m.start() : end] for m, end in zip(starts, ends, strict=True)}
    parts = [_region(text, match.start()) for match in re.finditer(r"stablehlo\.while\(", text)]
    seen = set()
    for part in parts:
        called = set(re.findall(r"call @([\w.]+)", part)) & functions.keys() - seen
        seen |= called
        parts += [functions[name] for name in called]
    return parts


def _region(text, start):
    """Return the condition and the body of the loop that begins at a place."""
    begin = text.index("cond {", start)
    depth = 0
    for match in re.compile(r"[{}]").finditer(text, begin):
        depth += 1 if match[0] == "{" else -1
        if depth == 0 and not text.startswith(" do {", match.end()):
            return text[begin : match.end()]
    raise ValueError("The braces of the text do not match.")
