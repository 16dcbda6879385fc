import os
import sys
import warnings


_PACKAGE = os.path.dirname(os.path.abspath(__file__)) + os.sep


def warn_caller(message: str, category: type[Warning] = UserWarning) -> None:
    """Warn at the line that called this package, at any depth of the call.

    Python shows a warning once for each line. At a line of this package, the second image of a
    session would get no warning.
    """
    frame, level, outside = sys._getframe(1), 2, 2
    while frame is not None:
        level += 1
        if frame.f_code.co_filename.startswith(_PACKAGE):
            outside = level
        frame = frame.f_back
    warnings.warn(message, category, stacklevel=outside)
