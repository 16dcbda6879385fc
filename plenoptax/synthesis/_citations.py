"""What to cite, as BibTeX."""

_ENTRIES = {
    "PortillaSimoncelli": """@article{portilla2000parametric,
  author = {Portilla, Javier and Simoncelli, Eero P.},
  title = {A Parametric Texture Model Based on Joint Statistics of Complex Wavelet Coefficients},
  journal = {International Journal of Computer Vision},
  volume = {40}, number = {1}, pages = {49--70}, year = {2000},
  doi = {10.1023/A:1026553619983}
}""",
    "Metamer": """@article{freeman2011metamers,
  author = {Freeman, Jeremy and Simoncelli, Eero P.},
  title = {Metamers of the Ventral Stream},
  journal = {Nature Neuroscience},
  volume = {14}, number = {9}, pages = {1195--1201}, year = {2011},
  doi = {10.1038/nn.2889}
}""",
    "MADCompetition": """@article{wang2008maximum,
  author = {Wang, Zhou and Simoncelli, Eero P.},
  title = {Maximum Differentiation ({MAD}) Competition: A Methodology for Comparing Computational
           Models of Perceptual Quantities},
  journal = {Journal of Vision},
  volume = {8}, number = {12}, pages = {8}, year = {2008},
  doi = {10.1167/8.12.8}
}""",
    "Geodesic": """@inproceedings{henaff2016geodesics,
  author = {H{\\'e}naff, Olivier J. and Simoncelli, Eero P.},
  title = {Geodesics of Learned Representations},
  booktitle = {International Conference on Learning Representations},
  year = {2016}
}""",
    "Eigendistortions": """@inproceedings{berardino2017eigen,
  author = {Berardino, Alexander and Laparra, Valero and Ball{\\'e}, Johannes and
            Simoncelli, Eero P.},
  title = {Eigen-Distortions of Hierarchical Representations},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {30}, year = {2017}
}""",
    "PrincipalDistortions": """@inproceedings{feather2025discriminating,
  author = {Feather, Jenelle and Lipshutz, David and Harvey, Sarah E. and Williams, Alex H. and
            Simoncelli, Eero P.},
  title = {Discriminating Image Representations with Principal Distortions},
  booktitle = {International Conference on Learning Representations},
  year = {2025}
}""",
    "SteerablePyramidFreq": """@inproceedings{simoncelli1995steerable,
  author = {Simoncelli, Eero P. and Freeman, William T.},
  title = {The Steerable Pyramid: A Flexible Architecture for Multi-Scale Derivative Computation},
  booktitle = {IEEE International Conference on Image Processing},
  volume = {3}, pages = {444--447}, year = {1995},
  doi = {10.1109/ICIP.1995.537667}
}""",
    "LaplacianPyramid": """@article{burt1983laplacian,
  author = {Burt, Peter J. and Adelson, Edward H.},
  title = {The {L}aplacian Pyramid as a Compact Image Code},
  journal = {IEEE Transactions on Communications},
  volume = {31}, number = {4}, pages = {532--540}, year = {1983},
  doi = {10.1109/TCOM.1983.1095851}
}""",
    "ssim": """@article{wang2004image,
  author = {Wang, Zhou and Bovik, Alan C. and Sheikh, Hamid R. and Simoncelli, Eero P.},
  title = {Image Quality Assessment: From Error Visibility to Structural Similarity},
  journal = {IEEE Transactions on Image Processing},
  volume = {13}, number = {4}, pages = {600--612}, year = {2004},
  doi = {10.1109/TIP.2003.819861}
}""",
    "ms_ssim": """@inproceedings{wang2003multiscale,
  author = {Wang, Zhou and Simoncelli, Eero P. and Bovik, Alan C.},
  title = {Multiscale Structural Similarity for Image Quality Assessment},
  booktitle = {Asilomar Conference on Signals, Systems and Computers},
  volume = {2}, pages = {1398--1402}, year = {2003},
  doi = {10.1109/ACSSC.2003.1292216}
}""",
    "nlpd": """@inproceedings{laparra2016perceptual,
  author = {Laparra, Valero and Ball{\\'e}, Johannes and Berardino, Alexander and
            Simoncelli, Eero P.},
  title = {Perceptual Image Quality Assessment Using a Normalized {L}aplacian Pyramid},
  booktitle = {Human Vision and Electronic Imaging},
  year = {2016}
}""",
}
_ALIASES = {"MetamerCTF": "Metamer", "ConditionalGeodesic": "Geodesic"}
_ALIASES |= {"ssim_distance": "ssim", "ms_ssim_distance": "ms_ssim", "NLP": "nlpd"}
_ALIASES |= dict.fromkeys(
    ("LinearNonlinear", "LuminanceGainControl", "LuminanceContrastGainControl", "OnOff"),
    "Eigendistortions",
)


def citations(*names: str) -> str:
    """The papers behind methods, models and metrics, by their names; each once."""
    keys = dict.fromkeys(_ALIASES.get(name, name) for name in names)
    return "\n\n".join(_ENTRIES[key] for key in keys if key in _ENTRIES)
