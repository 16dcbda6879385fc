from typing import Any

from .._answers import cites
from ..metric import ms_ssim, ms_ssim_distance, NLP, nlpd, ssim, ssim_distance
from ..process import LaplacianPyramid, SteerablePyramidFreq


_STEERABLE_PYRAMID = """@inproceedings{simoncelli1995steerable,
  author = {Simoncelli, Eero P. and Freeman, William T.},
  title = {The Steerable Pyramid: A Flexible Architecture for Multi-Scale Derivative Computation},
  booktitle = {IEEE International Conference on Image Processing},
  volume = {3}, pages = {444--447}, year = {1995},
  doi = {10.1109/ICIP.1995.537667}
}"""

_LAPLACIAN_PYRAMID = """@article{burt1983laplacian,
  author = {Burt, Peter J. and Adelson, Edward H.},
  title = {The {L}aplacian Pyramid as a Compact Image Code},
  journal = {IEEE Transactions on Communications},
  volume = {31}, number = {4}, pages = {532--540}, year = {1983},
  doi = {10.1109/TCOM.1983.1095851}
}"""

_SSIM = """@article{wang2004image,
  author = {Wang, Zhou and Bovik, Alan C. and Sheikh, Hamid R. and Simoncelli, Eero P.},
  title = {Image Quality Assessment: From Error Visibility to Structural Similarity},
  journal = {IEEE Transactions on Image Processing},
  volume = {13}, number = {4}, pages = {600--612}, year = {2004},
  doi = {10.1109/TIP.2003.819861}
}"""

_MS_SSIM = """@inproceedings{wang2003multiscale,
  author = {Wang, Zhou and Simoncelli, Eero P. and Bovik, Alan C.},
  title = {Multiscale Structural Similarity for Image Quality Assessment},
  booktitle = {Asilomar Conference on Signals, Systems and Computers},
  volume = {2}, pages = {1398--1402}, year = {2003},
  doi = {10.1109/ACSSC.2003.1292216}
}"""

_NLPD = """@inproceedings{laparra2016perceptual,
  author = {Laparra, Valero and Ball{\\'e}, Johannes and Berardino, Alexander and
            Simoncelli, Eero P.},
  title = {Perceptual Image Quality Assessment Using a Normalized {L}aplacian Pyramid},
  booktitle = {Human Vision and Electronic Imaging},
  year = {2016}
}"""

for _part, _entry in (
    (SteerablePyramidFreq, _STEERABLE_PYRAMID),
    (LaplacianPyramid, _LAPLACIAN_PYRAMID),
    (ssim, _SSIM),
    (ssim_distance, _SSIM),
    (ms_ssim, _MS_SSIM),
    (ms_ssim_distance, _MS_SSIM),
    (nlpd, _NLPD),
    (NLP, _NLPD),
):
    cites(_entry)(_part)


def citations(*entries: Any) -> str:
    """The BibTeX entries among what parts have as ``citation``, each once."""
    return "\n\n".join(dict.fromkeys(entry for entry in entries if isinstance(entry, str)))
