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
    "LuminanceGainControl": """@inproceedings{berardino2017eigen,
  author = {Berardino, Alexander and Laparra, Valero and Ball{\\'e}, Johannes and
            Simoncelli, Eero P.},
  title = {Eigen-Distortions of Hierarchical Representations},
  booktitle = {Advances in Neural Information Processing Systems},
  volume = {30}, year = {2017}
}""",
}
_ALIASES = {"MetamerCTF": "Metamer", "ConditionalGeodesic": "Geodesic"}
_ALIASES |= dict.fromkeys(
    ("LinearNonlinear", "LuminanceContrastGainControl", "OnOff"), "LuminanceGainControl"
)


def citations(*names: str) -> str:
    """The papers behind methods and models, by the names of their classes; each once."""
    keys = dict.fromkeys(_ALIASES.get(name, name) for name in names)
    return "\n\n".join(_ENTRIES[key] for key in keys if key in _ENTRIES)
