"""Metrics: distances and similarities between two images."""

from ._model_metric import model_metric_factory as model_metric_factory
from ._model_metric import ModelMetric as ModelMetric
from ._ms_ssim import ms_ssim as ms_ssim
from ._ms_ssim import ms_ssim_distance as ms_ssim_distance
from ._naive import mse as mse
from ._nlpd import NLP as NLP
from ._nlpd import nlpd as nlpd
from ._nlpd import normalized_laplacian_pyramid as normalized_laplacian_pyramid
from ._ssim import ssim as ssim
from ._ssim import ssim_distance as ssim_distance
from ._ssim import ssim_map as ssim_map
