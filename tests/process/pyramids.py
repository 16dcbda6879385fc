"""Steerable pyramids compiled as a whole, and gratings to decompose."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np


@eqx.filter_jit
def decompose(pyramid, image, scales=None):
    return pyramid(image, scales)


@eqx.filter_jit
def reconstruct(pyramid, coefficients, levels="all", bands="all"):
    return pyramid.recon_pyr(coefficients, levels, bands)


@eqx.filter_jit
def steer(pyramid, coefficients, angles, even_phase=True):
    return pyramid.steer_coeffs(coefficients, angles, even_phase)


def grating(shape, frequency, phase=0.0):
    rows, columns = np.indices(shape)
    turns = frequency[0] * rows / shape[0] + frequency[1] * columns / shape[1]
    return jnp.asarray(np.cos(2 * np.pi * turns + phase))[None]
