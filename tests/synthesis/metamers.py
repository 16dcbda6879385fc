"""Metamers without a progress bar."""

import plenoptax as plx


def quietly(*arguments, **options):
    return plx.metamer(*arguments, **{"progress": False, **options})
