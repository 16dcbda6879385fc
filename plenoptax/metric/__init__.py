"""Metrics: distances and similarities between two images."""

from ._cw_ssim import cw_ssim as cw_ssim
from ._cw_ssim import cw_ssim_distance as cw_ssim_distance
from ._dists import DISTS as DISTS
from ._evaluate import Agreement as Agreement
from ._evaluate import Estimate as Estimate
from ._evaluate import evaluate as evaluate
from ._evaluate import Evaluation as Evaluation
from ._fsim import fsim as fsim
from ._fsim import fsim_distance as fsim_distance
from ._lpips import LPIPS as LPIPS
from ._model_metric import model_metric_factory as model_metric_factory
from ._model_metric import ModelMetric as ModelMetric
from ._ms_ssim import ms_ssim as ms_ssim
from ._ms_ssim import ms_ssim_distance as ms_ssim_distance
from ._naive import mse as mse
from ._nlpd import NLP as NLP
from ._nlpd import nlpd as nlpd
from ._nlpd import normalized_laplacian_pyramid as normalized_laplacian_pyramid
from ._quality import gmsd as gmsd
from ._quality import haarpsi as haarpsi
from ._quality import haarpsi_distance as haarpsi_distance
from ._ssim import ssim as ssim
from ._ssim import ssim_distance as ssim_distance
from ._ssim import ssim_map as ssim_map
