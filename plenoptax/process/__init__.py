"""Canonical computations on images: pure functions and small Modules."""

from ._convolution import blur_downsample as blur_downsample
from ._convolution import correlate_downsample as correlate_downsample
from ._convolution import correlate_separable as correlate_separable
from ._convolution import gaussian_blur as gaussian_blur
from ._convolution import same_padding as same_padding
from ._convolution import upsample_blur as upsample_blur
from ._convolution import upsample_convolve as upsample_convolve
from ._filters import circular_gaussian2d as circular_gaussian2d
from ._filters import gaussian1d as gaussian1d
from ._filters import gaussian_window as gaussian_window
from ._filters import named_filter as named_filter
from ._fourier import autocorrelation as autocorrelation
from ._fourier import expand as expand
from ._fourier import modulate_phase as modulate_phase
from ._fourier import shrink as shrink
from ._laplacian_pyramid import LaplacianPyramid as LaplacianPyramid
from ._polar import disk as disk
from ._polar import polar_angle as polar_angle
from ._polar import polar_radius as polar_radius
from ._signal import center_crop as center_crop
from ._signal import rescale as rescale
from ._statistics import kurtosis as kurtosis
from ._statistics import skew as skew
from ._statistics import variance as variance
from ._steerable_pyramid import SteerablePyramidFreq as SteerablePyramidFreq
