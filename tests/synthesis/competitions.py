"""Metrics that compete, and competitions without a progress bar."""

import functools as ft

import jax.numpy as jnp

import plenoptax as plx


ssim_distance = ft.partial(plx.metric.ssim_distance, weighted=True, pad="reflect")


def l1(image, other):
    return jnp.sum(jnp.abs(image - other))


def l2(image, other):
    return plx.loss.l2_norm(image, other)


def quietly(*arguments, **options):
    return plx.mad_competition(*arguments, **{"progress": False, **options})
