"""Saving and loading: durable files without code in them, readable without plenoptax."""

from .solve._examine import examine_saved_synthesis as examine_saved_synthesis
from .solve._files import load as load
from .solve._files import load_trace as load_trace
from .solve._files import save as save
from .solve._probe import LoadWarning as LoadWarning
