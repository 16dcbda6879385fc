"""Synthesis of stimuli that show what a model of perception sees and what it is blind to."""

# Rooms are imported on first use, so that a command line that is interrupted while it imports JAX
# ends with one line. Type checkers read the same names in `__init__.pyi`.
__version__ = "0.2.0"

_ROOMS = (
    "data",
    "io",
    "linalg",
    "loss",
    "metric",
    "models",
    "parametrize",
    "plot",
    "process",
    "regularize",
    "solve",
    "stop",
    "synthesis",
    "validate",
)

_NAMES = {
    "_compiled": ("clear_caches",),
    "data": (
        "convert_float_to_int",
        "load_images",
        "to_numpy",
    ),
    "solve": (
        "AbstractConstrained",
        "AbstractLeastSquares",
        "AbstractOptimizer",
        "AbstractProblem",
        "advance",
        "amsgrad",
        "batch",
        "Batched",
        "BatchedTrace",
        "BestSoFar",
        "Checkpoint",
        "CheckpointError",
        "Info",
        "init",
        "lbfgs",
        "NonfiniteError",
        "Outcome",
        "Record",
        "run",
        "Solver",
        "Stage",
        "State",
        "Status",
        "step",
        "Trace",
    ),
    "synthesis": (
        "BatchReport",
        "compare",
        "ComparisonReport",
        "conditional_geodesic",
        "ConditionalGeodesic",
        "CrossTable",
        "Detectability",
        "Eigendistortions",
        "eigendistortions",
        "EigendistortionsReport",
        "equal_detectability",
        "generalized_eigendistortions",
        "GeneralizedEigendistortions",
        "Geodesic",
        "geodesic",
        "mad_competition",
        "mad_competition_set",
        "MADCompetition",
        "Metamer",
        "metamer",
        "metamer_ctf",
        "MetamerCTF",
        "Null",
        "null",
        "Objective",
        "precondition_path",
        "principal_distortions",
        "PrincipalDistortions",
        "Report",
        "Result",
        "synthesize",
    ),
}


def __getattr__(name: str) -> object:
    """Import a room, or the room of a name, on first use."""
    import importlib

    if name in _ROOMS:
        return importlib.import_module(f"{__name__}.{name}")
    for room, names in _NAMES.items():
        if name in names:
            found = getattr(importlib.import_module(f"{__name__}.{room}"), name)
            globals()[name] = found
            return found
    from ._replaced import NAMES as replaced

    advice = f" Use {replaced[name]}." if name in replaced else ""
    raise AttributeError(f"Module {__name__!r} has no attribute {name!r}.{advice}")


def __dir__() -> list[str]:
    """All names, whether they have been used or not."""
    return sorted({*globals(), *_ROOMS, *(name for names in _NAMES.values() for name in names)})
