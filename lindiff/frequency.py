r"""How fast does an image vary? Radial spectra, mean frequencies, and the bases of pure waves.

Frequencies are in cycles per pixel, powers per *mode*: white noise of variance :math:`s^2` has the
power :math:`s^2` at every frequency, so that a power compares with an eigenvalue of a covariance
and with :math:`\sigma^2`. (Power summed over all modes of a ring would fall one exponent slower.)
Two transforms are offered:

``"fourier"``
    Waves of a periodic image. They are the principal components of every stationary law on a torus
    (circulant covariance). The border of a patch cut from a photograph is an edge to them, which
    fills high frequencies with power :math:`\propto f^{-2}`.
``"cosine"``
    The DCT-II: waves of an image continued by its mirror images. Nothing jumps at the border.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.fft

from lindiff import _check
from lindiff.gaussian import Gaussian


class Basis(NamedTuple):
    """Orthonormal waves on square images, ``rows`` (d, d), by ascending ``frequency`` (d,)."""

    rows: np.ndarray
    frequency: np.ndarray


class Spectrum(NamedTuple):
    """Mean power of images per mode, ring by ring of the frequency plane.

    Attributes
    ----------
    frequency, power : ndarray, shape (m,)
        Means over the modes of each ring; the first frequency is 0.
    modes : ndarray of int, shape (m,)
        Number of modes in each ring; they sum to the number of pixels.
    """

    frequency: np.ndarray
    power: np.ndarray
    modes: np.ndarray


class Slope(NamedTuple):
    r"""A power law :math:`A f^{-\alpha}` fitted to a spectrum.

    Gain one half of the optimal denoiser, :math:`A f^{-\alpha}=\sigma^2`, is then reached at
    :math:`f^\ast=(A/\sigma^2)^{1/\alpha}\propto\sigma^{-2/\alpha}`.

    Attributes
    ----------
    alpha : float
        Exponent; negative if power rises with frequency.
    error : float
        Standard error of `alpha` from the scatter about the line.
    amplitude : float
        A, the power of the line at one cycle per pixel.
    """

    alpha: float
    error: float
    amplitude: float


def _images(v: npt.ArrayLike, shape: Sequence[int] | None, colour: bool = False) -> np.ndarray:
    """Return `v` as images (k, h, w), at least 2 × 2 pixels; with `colour` as (k, c, h, w)."""
    forms = (2, 3, 4) if colour else (2, 3)
    v = _check.array("v", v, np.ndim(v) if np.ndim(v) in forms else 2)
    expected = "(h, w) or (c, h, w)" if colour else "(h, w)"
    if shape is None:
        side = math.isqrt(v.shape[1])
        if v.ndim == 2 and side**2 != v.shape[1]:
            raise ValueError(
                f"v has rows of {v.shape[1]} pixels; expected a square number, "
                f"or the shape {expected}"
            )
        shape = v.shape[1:] if v.ndim > 2 else (side, side)
    if np.shape(shape) not in [(n - 1,) for n in forms[1:]]:
        raise ValueError(f"shape is {shape}; expected integers {expected}")
    h, w = (_check.integer("side of the images in v", side, 2) for side in shape[-2:])
    c = _check.integer("number of channels", shape[0], 1) if len(shape) == 3 else 1
    one = (h, w) if len(shape) == 2 else (c, h, w)
    if v.shape[1:] not in (one, (c * h * w,)):
        sides = ", ".join(map(str, one))
        raise ValueError(f"v has shape {v.shape}; expected (k, {c * h * w}) or (k, {sides})")
    _check.integer("number of images in v", len(v), 1)
    return v.reshape(-1, c, h, w) if colour else v.reshape(-1, h, w)


def _radius(shape: Sequence[int], transform: str) -> np.ndarray:
    """Radial frequency of each mode, shape (h, w)."""
    if transform == "fourier":
        down, across = (np.fft.fftfreq(side) for side in shape)
    elif transform == "cosine":
        down, across = (np.arange(side) / (2 * side) for side in shape)
    else:
        raise ValueError(f"transform is {transform!r}; expected 'fourier' or 'cosine'")
    return np.hypot(down[:, None], across)


def _power(images: np.ndarray, transform: str) -> np.ndarray:
    """Power of each mode of images (..., h, w); orthonormal, so that sums agree."""
    act = scipy.fft.fft2 if transform == "fourier" else scipy.fft.dctn
    return np.abs(act(images, norm="ortho", axes=(-2, -1))) ** 2


def radial_spectrum(
    v: npt.ArrayLike, shape: Sequence[int] | None = None, *, transform: str = "fourier"
) -> Spectrum:
    r"""Power of images against radial frequency, averaged over rings, directions and images.

    The transforms are orthonormal, so Parseval's identity reads
    :math:`\sum_{\text{rings}} \text{modes}\cdot\text{power} = \frac1k\sum_{j=1}^k |v_j|^2`.
    Rings are one lowest frequency wide. Nothing is subtracted: ring 0 holds the mean grey alone.

    Parameters
    ----------
    v : array_like, shape (k, h * w) or (k, h, w)
        One image per row, or images.
    shape : tuple of int, optional
        ``(h, w)`` of images that come as rows; by default they are square.
    transform : str
        ``"fourier"`` for images that are periodic or vanish at the border, ``"cosine"`` for
        patches of larger ones.

    Returns
    -------
    Spectrum

    Raises
    ------
    ValueError
        If `v` holds no images of at least 2 × 2 pixels, `shape` does not fit, or the transform is
        unknown.

    Examples
    --------
    >>> white = np.random.default_rng(0).standard_normal((4000, 16))
    >>> radial_spectrum(white).power.round(1)
    array([1., 1., 1., 1.])
    """
    images = _images(v, shape)
    radius = _radius(images.shape[1:], transform)
    ring = np.rint(radius / radius[radius > 0].min()).astype(int).ravel()
    # in blocks: the transform of all patches at once may not fit into memory
    blocks = np.array_split(images, -(-len(images) // 1024))
    power = sum(_power(block, transform).sum(axis=0) for block in blocks) / len(images)
    modes = np.bincount(ring)
    filled = modes > 0  # images far from square may leave a ring empty
    modes = modes[filled]
    frequency, mean_power = (
        np.bincount(ring, weights=part.ravel())[filled] / modes for part in (radius, power)
    )
    return Spectrum(frequency, mean_power, modes)


def mean_frequency(
    v: npt.ArrayLike, shape: Sequence[int] | None = None, *, transform: str = "fourier"
) -> np.ndarray:
    r"""Mean radial frequency of each image, weighted with its power.

    .. math:: \bar f(v) = \sum_k f_k |\hat v_k|^2 \Big/ \sum_k |\hat v_k|^2

    The mean grey counts like any mode: a constant image has the mean frequency 0. The order of
    the rows, their signs and their lengths do not matter. Of an image in colour each channel is
    transformed by itself, and :math:`|\hat v_k|^2` is the sum of the powers of its channels: a
    pattern counts the same whether it is one of brightness or of colour.

    Parameters
    ----------
    v : array_like, shape (k, h * w), (k, h, w), (k, c * h * w) or (k, c, h, w)
        Images or eigenvectors, one per row.
    shape : tuple of int, optional
        ``(h, w)`` or ``(c, h, w)`` of images that come as rows; by default they are grey and
        square.
    transform : str
        ``"fourier"`` or ``"cosine"``, as in :func:`radial_spectrum`.

    Returns
    -------
    ndarray, shape (k,)
        Cycles per pixel, between 0 and :math:`1/\sqrt2`.

    Examples
    --------
    >>> column = np.cos(2 * np.pi * 3 * np.arange(16) / 16)
    >>> mean_frequency([np.outer(np.ones(16), column)]) * 16
    array([3.])
    """
    images = _images(v, shape, colour=True)
    radius = _radius(images.shape[2:], transform)
    peak = np.abs(images).max(axis=(1, 2, 3))
    if (peak == 0).any():
        raise ValueError(f"image {int(np.argmin(peak))} of v is zero; expected some power")
    power = _power(images / peak[:, None, None, None], transform).sum(axis=1)
    return (power * radius).sum(axis=(1, 2)) / power.sum(axis=(1, 2))


def _sorted_basis(rows: np.ndarray, transform: str) -> Basis:
    """Order waves by frequency, ties by their place in the frequency plane."""
    side = math.isqrt(len(rows))
    frequency = _radius((side, side), transform).ravel()
    # rounded: equal frequencies may differ in the last digit
    order = np.argsort(frequency.round(12), kind="stable")
    return Basis(rows[order], frequency[order])


def fourier_basis(size: int) -> Basis:
    r"""Orthonormal real Fourier basis on periodic images of size × size pixels.

    Each row is a plane wave, :math:`\sqrt2\cos(\theta-\pi/4)=\cos\theta+\sin\theta` with
    :math:`\theta=2\pi(ay+bx)/\text{size}` [Hartley 1942]; the frequencies (a, b) and (-a, -b)
    give the two phases. Every circulant covariance is diagonal in it.

    Parameters
    ----------
    size : int
        Side in pixels, at least 2.

    Returns
    -------
    Basis

    Examples
    --------
    >>> rows, frequency = fourier_basis(4)
    >>> rows.shape, frequency[:5].tolist()
    ((16, 16), [0.0, 0.25, 0.25, 0.25, 0.25])
    """
    size = _check.integer("size", size, 2)
    index = np.arange(size)
    steps = np.multiply.outer(index, index)  # a y, as whole steps of 2 pi / size
    total = (steps[:, None, :, None] + steps[None, :, None, :]) % size  # (a, b, y, x)
    wave = (np.cos(2 * np.pi * index / size) + np.sin(2 * np.pi * index / size)) / size
    return _sorted_basis(wave[total.reshape(size**2, size**2)], "fourier")


def dct_basis(size: int) -> Basis:
    r"""Orthonormal basis of the two-dimensional DCT-II [Ahmed, Natarajan and Rao 1974].

    Rows are products of :math:`\cos(\pi a(y+\frac12)/\text{size})` in both directions, with
    the frequency :math:`\sqrt{a^2+b^2}/(2\,\text{size})`. Along a line, every covariance of the
    form :math:`r(j-k)+r(j+k+1)` is diagonal in it, r even and of period 2 size: that of a
    stationary signal of twice the length added to its mirror image.

    Parameters
    ----------
    size : int
        Side in pixels, at least 2.

    Returns
    -------
    Basis

    Examples
    --------
    >>> rows, frequency = dct_basis(2)
    >>> rows[0], frequency.round(3)
    (array([0.5, 0.5, 0.5, 0.5]), array([0.   , 0.25 , 0.25 , 0.354]))
    """
    size = _check.integer("size", size, 2)
    index = np.arange(size)
    line = np.cos(np.pi / size * np.outer(index, index + 0.5)) * np.sqrt(2 / size)
    line[0] = np.sqrt(1 / size)
    return _sorted_basis(np.kron(line, line), "cosine")


def stationary(size: int, alpha: float) -> Gaussian:
    r"""Centred stationary Gaussian images with per-mode power :math:`\propto f^{-\alpha}`.

    The eigenvectors are those of :func:`fourier_basis` without the constant: every image has the
    mean grey 0, and the rank is size² - 1. The mean variance of a pixel is 1.

    Parameters
    ----------
    size : int
        Side in pixels, at least 2.
    alpha : float
        Exponent, 0 for white images; natural images have about 2 [Field 1987]. If negative, power
        *rises* with frequency, and the leading eigenvectors are the fastest waves.

    Returns
    -------
    Gaussian

    Examples
    --------
    >>> mean_frequency(stationary(8, 2.0).basis[[0, -1]]).round(3)
    array([0.125, 0.707])
    >>> mean_frequency(stationary(8, -2.0).basis[[0, -1]]).round(3)
    array([0.707, 0.125])
    """
    size = _check.integer("size", size, 2)
    rows, frequency = fourier_basis(size)
    rows, frequency = rows[1:], frequency[1:].round(12)  # equal ones exactly so
    logs = -_check.array("alpha", alpha, 0) * np.log(frequency)
    values = np.exp(logs - logs.max())
    values *= size**2 / values.sum()
    order = np.argsort(-values, kind="stable")
    return Gaussian(np.zeros(size**2), values[order], rows[order])


def spectral_slope(
    frequency: npt.ArrayLike, power: npt.ArrayLike, low: float, high: float
) -> Slope:
    r"""Fit :math:`A f^{-\alpha}` to a spectrum between two frequencies.

    Ordinary least squares of log power on log frequency, each point of equal weight. The standard
    error measures the scatter of the points about a line: neither a bend nor the choice of the
    images is in it. Rings add a bias: :math:`f^{-2}` on 32 × 32 pixels is read as 2.02.

    Parameters
    ----------
    frequency, power : array_like, shape (m,)
        For instance of a :class:`Spectrum`; entries outside the range may be anything finite.
    low, high : float
        Range, ``0 < low < high``, both ends included.

    Returns
    -------
    Slope

    Raises
    ------
    ValueError
        If the range holds fewer than three different frequencies or a power that is not positive.

    Examples
    --------
    >>> f = np.array([0.0, 0.1, 0.2, 0.4])
    >>> fit = spectral_slope(f, [7.0, 200.0, 50.0, 12.5], 0.1, 0.5)
    >>> round(fit.alpha, 6), round(fit.amplitude, 6)
    (2.0, 2.0)
    """
    frequency = _check.array("frequency", frequency, 1)
    power = _check.array("power", power, 1)
    _check.same_shape("power", power.shape, frequency.shape)
    low = _check.number("low", low, 0.0, open_low=True)
    high = _check.number("high", high, low, open_low=True)
    inside = (frequency >= low) & (frequency <= high)
    if (different := np.unique(frequency[inside]).size) < 3:
        raise ValueError(f"{different} frequencies lie in [{low}, {high}]; expected at least 3")
    if power[inside].min() <= 0:
        raise ValueError(f"power has {power[inside].min()} in the range; expected positive powers")
    x, y = np.log(frequency[inside]), np.log(power[inside])
    centred = x - x.mean()
    spread = (centred**2).sum()
    slope = (centred * y).sum() / spread
    residual = y - y.mean() - slope * centred
    error = np.sqrt((residual**2).sum() / (x.size - 2) / spread)
    amplitude = np.exp(y.mean() - slope * x.mean())
    return Slope(float(-slope), float(error), float(amplitude))
