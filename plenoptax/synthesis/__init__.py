"""Methods of synthesis, one problem and one entry function each."""

from ._compare import compare as compare
from ._compare import CrossTable as CrossTable
from ._comparison import ComparisonReport as ComparisonReport
from ._conditional_geodesic import conditional_geodesic as conditional_geodesic
from ._conditional_geodesic import ConditionalGeodesic as ConditionalGeodesic
from ._eigendistortions import eigendistortions as eigendistortions
from ._eigendistortions_generalized import (
    generalized_eigendistortions as generalized_eigendistortions,
)
from ._eigendistortions_generalized import (
    GeneralizedEigendistortions as GeneralizedEigendistortions,
)
from ._eigendistortions_result import Eigendistortions as Eigendistortions
from ._eigendistortions_result import EigendistortionsReport as EigendistortionsReport
from ._equal_detectability import Detectability as Detectability
from ._equal_detectability import equal_detectability as equal_detectability
from ._geodesic import Geodesic as Geodesic
from ._geodesic import geodesic as geodesic
from ._geodesic_solver import precondition_path as precondition_path
from ._mad import MADCompetition as MADCompetition
from ._mad_synthesis import mad_competition as mad_competition
from ._mad_synthesis import mad_competition_set as mad_competition_set
from ._metamer import Metamer as Metamer
from ._metamer import metamer as metamer
from ._metamer_ctf import metamer_ctf as metamer_ctf
from ._metamer_ctf import MetamerCTF as MetamerCTF
from ._null import Null as Null
from ._null import null as null
from ._objective import Objective as Objective
from ._objective import synthesize as synthesize
from ._principal_distortions import principal_distortions as principal_distortions
from ._principal_distortions import PrincipalDistortions as PrincipalDistortions
from ._report import BatchReport as BatchReport
from ._report import Report as Report
from ._result import Result as Result
