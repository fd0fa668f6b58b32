r"""Clocks: what a linear map, or a whole sampler, is worth in power iterations."""

import numpy as np
import numpy.typing as npt

from lindiff import _check
from lindiff.denoisers import LinearDenoiser
from lindiff.laws import law
from lindiff.power import _on_rows
from lindiff.samplers import ddim
from lindiff.types import Operator, StepRule


def clock(gains: npt.ArrayLike, eigenvalues: npt.ArrayLike) -> np.ndarray:
    r"""Number of power iterations of :math:`\Sigma` that a linear map equals, mode by mode.

    .. math:: k_i = \frac{\log(g_1/g_i)}{\log(\lambda_1/\lambda_i)}, \qquad i = 2, \dots, r,

    so that the map :math:`\Sigma^k` has clock k, and the clocks of successive maps add.

    Parameters
    ----------
    gains : array_like, shape (..., r)
        Positive gains of the map along the eigenvectors.
    eigenvalues : array_like, shape (r,)
        Positive and descending, at least two.

    Returns
    -------
    ndarray, shape (..., r - 1)
        Undefined (nan) where the eigenvalue equals the first.

    Examples
    --------
    >>> lam = np.array([9.0, 4.0, 1.0])
    >>> clock(lam**2, lam)
    array([2., 2.])
    """
    lam = _check.eigenvalues("eigenvalues", eigenvalues)
    gains = _check.real("gains", gains)
    if lam.size < 2 or gains.ndim == 0 or gains.shape[-1] != lam.size:
        raise ValueError(
            f"gains and eigenvalues have shapes {gains.shape} and {lam.shape}; "
            "expected (..., r) and (r,) with r >= 2"
        )
    if lam[-1] <= 0 or not ((gains > 0) & np.isfinite(gains)).all():
        raise ValueError(f"gains is {gains}, eigenvalues {lam}; expected positive, finite numbers")
    with np.errstate(invalid="ignore", divide="ignore"):
        k = np.log(gains[..., :1] / gains[..., 1:]) / np.log(lam[0] / lam[1:])
    return np.where(lam[1:] == lam[0], np.nan, k)


def operator_clock(a: Operator, eigenvalues: npt.ArrayLike, basis: npt.ArrayLike) -> np.ndarray:
    r"""Number of power iterations that a matrix equals: its :func:`clock` in an eigenbasis.

    The gains are the Rayleigh quotients :math:`u_i^\top A u_i`. For maps that share the eigenbasis
    nothing is lost; for others, such as an average of random projections or the Jacobian of a
    network, this is what the map does on average to each direction, and leaves out what it mixes.

    Parameters
    ----------
    a : array, SciPy operator or callable
        As for :func:`~lindiff.power.krylov`; it need not be symmetric.
    eigenvalues : array_like, shape (r,)
        Positive and descending, at least two.
    basis : array_like, shape (r, d)
        Rows are the eigenvectors.

    Returns
    -------
    ndarray, shape (r - 1,)

    Raises
    ------
    ValueError
        If the shapes do not fit, or a Rayleigh quotient is not positive.

    Examples
    --------
    >>> covariance = np.diag([9.0, 4.0, 1.0])
    >>> operator_clock(covariance @ covariance, [9.0, 4.0, 1.0], np.eye(3))
    array([2., 2.])
    """
    basis = _check.orthonormal("basis", _check.array("basis", basis, 2))
    return clock((_on_rows(a, basis.shape[1])(basis) * basis).sum(axis=1), eigenvalues)


def sampler_clock(
    denoiser: LinearDenoiser, sigmas: npt.ArrayLike, *, step: StepRule = ddim
) -> np.ndarray:
    r"""Number of power iterations that a sampler equals, from the start to each level.

    Clocks add: the differences of successive rows are the clocks of the steps.

    Parameters
    ----------
    denoiser : LinearDenoiser
        With positive eigenvalues, at least two.
    sigmas : array_like, shape (T + 1,)
        Decreasing standard deviations.
    step : callable, default :func:`~lindiff.samplers.ddim`
        Step rule; the noise it adds does not count.

    Returns
    -------
    ndarray, shape (T + 1, r - 1)
        :func:`clock` of the response to the initial state, mode i against the first.

    Examples
    --------
    >>> from lindiff import Gaussian, LinearDenoiser, redenoise
    >>> denoiser = LinearDenoiser(Gaussian(np.zeros(2), [4.0, 1.0], np.eye(2)))
    >>> sampler_clock(denoiser, [100.0, 50.0, 0.0], step=redenoise).ravel().round(2)
    array([0., 1., 2.])
    """
    gain = law(denoiser, sigmas, step=step).gain
    eigenvalues = denoiser.model.eigenvalues
    if (positive := np.count_nonzero(eigenvalues)) < eigenvalues.size:
        raise ValueError(
            f"{eigenvalues.size - positive} of {eigenvalues.size} eigenvalues are 0; expected "
            f"positive ones: fit the model with rank={positive} or less"
        )
    return clock(gain, eigenvalues)
