"""Figures of images, models and syntheses."""

from ._animation import animshow as animshow
from ._cross_table import cross_table as cross_table
from ._eigendistortions import eigendistortion_imshow_all as eigendistortion_imshow_all
from ._geodesic import geodesic_deviation_from_line as geodesic_deviation_from_line
from ._histogram import histogram as histogram
from ._imshow import imshow as imshow
from ._mad import mad_imshow_all as mad_imshow_all
from ._mad import mad_loss_all as mad_loss_all
from ._mad_results import plot_MAD_results as plot_MAD_results
from ._pyrshow import pyrshow as pyrshow
from ._representation import plot_representation as plot_representation
from ._status import synthesis_animate as synthesis_animate
from ._status import synthesis_status as synthesis_status
from ._stem import stem_plot as stem_plot
from ._synthesis import (
    metamer_representation_error as metamer_representation_error,
)
from ._synthesis import (
    synthesis_histogram as synthesis_histogram,
)
from ._synthesis import (
    synthesis_imshow as synthesis_imshow,
)
from ._synthesis import (
    synthesis_loss as synthesis_loss,
)
from ._update import update_plot as update_plot
from ._windows import windows as windows
