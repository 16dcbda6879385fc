"""Representations read from the layers of a network."""

from ._extractor import FeatureExtractor as FeatureExtractor
from ._extractor import layer_names as layer_names
