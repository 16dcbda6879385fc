"""A photograph to distort, and what an end of a spectrum came to."""

import jax.numpy as jnp

import plenoptax as plx
from plenoptax.linalg import EigenStatus


def is_status(value, name):
    return bool(value == getattr(EigenStatus, name))


def crop(size=16, dtype=jnp.float32):
    return plx.data.brick().astype(dtype)[:, 100 : 100 + size, 100 : 100 + size]
