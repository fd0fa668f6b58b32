r"""The spiked covariance model: what N noisy samples tell about a direction.

Samples :math:`y = x + \sigma\varepsilon` in dimension d, where x has covariance
:math:`\sum_{i\le r}\lambda_iu_iu_i^\top`; N of them; :math:`\gamma = d/N` and
:math:`\ell = \lambda/\sigma^2`. Covariances are taken about the known mean. The limits are those of
:math:`d, N \to \infty` at fixed :math:`\gamma` [Baik, Ben Arous and Péché 2005; Paul 2007]; exact
draws at any size come from :func:`lindiff.draws.draw_alignment`.
"""

import numpy as np
import numpy.typing as npt

from lindiff import _check


def _broadcast(
    spike: npt.ArrayLike, sigma: npt.ArrayLike, gamma: npt.ArrayLike
) -> tuple[np.ndarray, ...]:
    """Check and broadcast; `spike` may be zero, the others are positive."""
    names = ("spike", "sigma", "gamma")
    spike, sigma, gamma = map(_check.real, names, (spike, sigma, gamma))
    for name, value, low in zip(names, (spike, sigma, gamma), (0, None, None), strict=True):
        bad = ~np.isfinite(value) | ((value < 0) if low == 0 else (value <= 0))
        if bad.any():
            wanted = "finite numbers >= 0" if low == 0 else "finite numbers > 0"
            raise ValueError(f"{name} contains {value[bad].flat[0]}; expected {wanted}")
    return np.broadcast_arrays(spike, sigma, gamma)


def eigenvalue_limit(
    spike: npt.ArrayLike, sigma: npt.ArrayLike, gamma: npt.ArrayLike
) -> np.ndarray:
    r"""Limit of the leading eigenvalue of the noisy sample covariance.

    .. math:: \hat\lambda \to \sigma^2(1+\ell)(1+\gamma/\ell)\ \text{if}\ \ell>\sqrt\gamma,
              \qquad \sigma^2(1+\sqrt\gamma)^2\ \text{otherwise}

    [Baik and Silverstein 2006].

    Parameters
    ----------
    spike : array_like
        Variance :math:`\lambda` of the data along the direction, ``>= 0``.
    sigma : array_like
        Noise standard deviation, positive.
    gamma : array_like
        Aspect ratio d/N, positive. All three broadcast.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> eigenvalue_limit([0.5, 4.0], sigma=1.0, gamma=1.0)
    array([4.  , 6.25])
    """
    spike, sigma, gamma = _broadcast(spike, sigma, gamma)
    ell = np.maximum(spike / sigma**2, np.sqrt(gamma))
    return sigma**2 * (1 + ell) * (1 + gamma / ell)


def alignment_limit(spike: npt.ArrayLike, sigma: npt.ArrayLike, gamma: npt.ArrayLike) -> np.ndarray:
    r"""Limit of the squared cosine between estimated and true direction.

    .. math:: c^2 \to \frac{1-\gamma/\ell^2}{1+\gamma/\ell}\ \text{if}\ \ell>\sqrt\gamma,
              \qquad 0\ \text{otherwise}

    [Paul 2007; Benaych-Georges and Nadakuditi 2011].

    Parameters
    ----------
    spike, sigma, gamma : array_like
        As for :func:`eigenvalue_limit`.

    Returns
    -------
    ndarray
        Between 0 and 1.

    Examples
    --------
    >>> alignment_limit([0.5, 4.0], sigma=1.0, gamma=1.0)
    array([0.  , 0.75])
    """
    spike, sigma, gamma = _broadcast(spike, sigma, gamma)
    ell = np.maximum(spike / sigma**2, np.sqrt(gamma))
    return np.where(spike**2 > gamma * sigma**4, (1 - gamma / ell**2) / (1 + gamma / ell), 0.0)


def emergence_sigma(spike: npt.ArrayLike, gamma: npt.ArrayLike) -> np.ndarray:
    r"""Noise level below which the direction is seen, :math:`\sigma^{\ast2}=\lambda/\sqrt\gamma`.

    Parameters
    ----------
    spike, gamma : array_like
        As for :func:`eigenvalue_limit`.

    Returns
    -------
    ndarray
        Standard deviation.

    Examples
    --------
    >>> round(float(emergence_sigma(4.0, gamma=0.25)), 4)
    2.8284
    """
    spike, _, gamma = _broadcast(spike, 1.0, gamma)
    return np.sqrt(spike / np.sqrt(gamma))


def spike_from_eigenvalue(
    eigenvalue: npt.ArrayLike, sigma: npt.ArrayLike, gamma: npt.ArrayLike
) -> np.ndarray:
    r"""Invert :func:`eigenvalue_limit`: the spike behind an observed eigenvalue.

    :math:`\ell=\frac12[q+\sqrt{q^2-4\gamma}]`, :math:`q=\hat\lambda/\sigma^2-1-\gamma`; zero for an
    eigenvalue inside the bulk, below :math:`\sigma^2(1+\sqrt\gamma)^2`.

    Parameters
    ----------
    eigenvalue : array_like
        Eigenvalue of the noisy sample covariance, ``>= 0``.
    sigma, gamma : array_like
        As for :func:`eigenvalue_limit`.

    Returns
    -------
    ndarray

    Examples
    --------
    >>> spike_from_eigenvalue([3.0, 6.25], sigma=1.0, gamma=1.0)
    array([0., 4.])
    """
    value, sigma, gamma = _broadcast(eigenvalue, sigma, gamma)
    q = value / sigma**2 - 1 - gamma
    outside = q >= 2 * np.sqrt(gamma)
    # at the edge rounding can make the difference negative
    root = np.sqrt(np.where(outside, np.maximum(q**2 - 4 * gamma, 0.0), 0.0))
    return np.where(outside, sigma**2 * (q + root) / 2, 0.0)


def shrink(spike: npt.ArrayLike, sigma: npt.ArrayLike, gamma: npt.ArrayLike) -> np.ndarray:
    r"""Best gain along an *estimated* direction, :math:`\lambda c^2/(\lambda c^2+\sigma^2)`.

    It minimises the error :math:`\lambda-2\eta\lambda c^2+\eta^2(\lambda c^2+\sigma^2)` of
    :math:`\eta\,\hat u\hat u^\top y` on a fresh sample, c² being :func:`alignment_limit`.

    Parameters
    ----------
    spike, sigma, gamma : array_like
        As for :func:`eigenvalue_limit`.

    Returns
    -------
    ndarray
        Between 0 and 1; below the Wiener gain.

    Examples
    --------
    >>> float(shrink(4.0, sigma=1.0, gamma=1.0))
    0.75
    """
    seen = np.multiply(spike, alignment_limit(spike, sigma, gamma))
    return seen / (seen + np.asarray(sigma, dtype=float) ** 2)


def mixing(spikes: npt.ArrayLike, sigma: float, n_samples: int, gamma: float) -> np.ndarray:
    r"""Leading-order squared cosines between *different* directions of the signal subspace.

    .. math:: \mathbb E\langle\hat u_i,u_j\rangle^2 \simeq \frac1{1+\gamma\sigma^2/\lambda_i}
              \frac{(\lambda_i+\sigma^2)(\lambda_j+\sigma^2)}{N(\lambda_i-\lambda_j)^2},\quad i\ne j

    Parameters
    ----------
    spikes : array_like, shape (r,)
        Distinct positive variances, descending.
    sigma : float
        Noise standard deviation, positive.
    n_samples : int
        Number N of samples.
    gamma : float
        Aspect ratio d/N.

    Returns
    -------
    ndarray, shape (r, r)
        Zero on the diagonal; infinite where two spikes are equal.

    Examples
    --------
    >>> mixing([4.0, 2.0], sigma=1.0, n_samples=100, gamma=0.5).round(4)
    array([[0.    , 0.0333],
           [0.03  , 0.    ]])
    """
    lam = _check.eigenvalues("spikes", spikes)
    sigma = _check.number("sigma", sigma, 0.0, open_low=True)
    gamma = _check.number("gamma", gamma, 0.0, open_low=True)
    if lam.size and lam[-1] == 0:
        raise ValueError("spikes contains 0.0; expected positive variances")
    n = _check.integer("n_samples", n_samples, 1)
    total = lam + sigma**2
    difference = lam[:, None] - lam
    with np.errstate(divide="ignore"):
        out = total[:, None] * total / (n * difference**2) / (1 + gamma * sigma**2 / lam)[:, None]
    np.fill_diagonal(out, 0.0)
    return out


def general_limits(
    eigenvalues: npt.ArrayLike, sigma: float, n_samples: int
) -> tuple[np.ndarray, np.ndarray]:
    r"""Eigenvalues and alignments for *any* spectrum, to leading order in 1/N.

    With :math:`a_i=\lambda_i+\sigma^2` and sums over :math:`j\ne i`,

    .. math:: c_i^2 \simeq \frac{1-\frac1N\sum_j a_j^2/(a_i-a_j)^2}{1+\frac1N\sum_j a_j/(a_i-a_j)},
       \qquad \hat\lambda_i \simeq a_i\Big[1+\frac1N\sum_j\frac{a_j}{a_i-a_j}\Big],

    with :math:`c_i^2=0` where the numerator is not positive. Both noise and mixing are in it; for
    one isolated spike it is :func:`alignment_limit`.

    Parameters
    ----------
    eigenvalues : array_like, shape (d,)
        **All** eigenvalues of the clean covariance, zeros included, descending.
    sigma : float
        Noise standard deviation, ``>= 0``.
    n_samples : int
        Number N of samples.

    Returns
    -------
    eigenvalue, alignment : ndarray, shape (d,)
        In a tie the alignment is 0: a repeated eigenvalue has no eigenvector of its own.

    Examples
    --------
    >>> spectrum = np.append(4.0, np.zeros(1999))
    >>> round(float(general_limits(spectrum, sigma=1.0, n_samples=2000)[1][0]), 3)
    0.75
    """
    lam = _check.eigenvalues("eigenvalues", eigenvalues)
    a = lam + _check.number("sigma", sigma, 0.0) ** 2
    n = _check.integer("n_samples", n_samples, 1)
    gap, count, level, tied = _gaps(a)
    first = (count * level / gap).sum(axis=1) / n
    second = (count * level**2 / gap**2).sum(axis=1) / n
    seen = (second < 1) & (first > -1) & ~tied
    alignment = np.divide(1 - second, 1 + first, out=np.zeros_like(a), where=seen)
    return a * (1 + first), alignment


def _gaps(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Distances (d, levels) of eigenvalues to all others, equal ones counted once.

    Also how often each level occurs, the levels, and which eigenvalues have an equal. The distance
    to the own level is infinite, so that sums over the others leave it out.
    """
    # equal up to rounding is a tie; a spectrum with few levels costs little
    group = np.cumsum(np.diff(values, prepend=values[:1]) < -_rounding(values))
    count = np.bincount(group)
    level = np.bincount(group, values) / count
    gap = values[:, None] - level
    gap[np.arange(values.size), group] = np.inf
    return gap, count, level, count[group] > 1


def _rounding(values: np.ndarray) -> float:
    """Distance up to which eigenvalues count as equal."""
    return float(max(values.size, 10) * np.finfo(float).eps * values.max(initial=0.0))


def subspace_limit(eigenvalues: npt.ArrayLike, sigma: float, n_samples: int, rank: int) -> float:
    r"""Mean squared cosine between the spaces of the leading estimated and true directions.

    Only overlaps with directions *outside* the space are lost. With
    :math:`\tau_i=\lambda_i+\sigma^2`, to leading order in 1/N,

    .. math:: \frac1r\sum_{i,j\le r}\langle\hat u_i,u_j\rangle^2 \simeq
              \frac1r\sum_{i\le r}\Big(1-\frac{B_i}{1+A_i}\Big)_+,\qquad
              A_i=\frac1N\sum_{j>r}\frac{\tau_j}{\tau_i-\tau_j},\quad
              B_i=\frac1N\sum_{j>r}\frac{\tau_i\tau_j}{(\tau_i-\tau_j)^2}.

    For one direction this is :func:`general_limits`. Chapter 9 of the book has the formula, and
    compares it with digits.

    Parameters
    ----------
    eigenvalues : array_like, shape (d,)
        **All** eigenvalues of the clean covariance, zeros included, descending.
    sigma : float
        Noise standard deviation, ``>= 0``.
    n_samples : int
        Number N of samples.
    rank : int
        Number r of leading directions, less than d.

    Returns
    -------
    float
        Between 0 and 1: the mean squared cosine of the principal angles.

    Examples
    --------
    >>> spectrum = np.concatenate([[4.0, 4.0], np.zeros(1998)])
    >>> round(subspace_limit(spectrum, sigma=1.0, n_samples=2000, rank=2), 3)
    0.75
    """
    lam = _check.eigenvalues("eigenvalues", eigenvalues)
    tau = lam + _check.number("sigma", sigma, 0.0) ** 2
    n = _check.integer("n_samples", n_samples, 1)
    r = _check.integer("rank", rank, 1, max(lam.size - 1, 0))
    gap = tau[:r, None] - tau[r:]
    tied = gap <= _rounding(tau)  # with an equal outside, a direction inside is not seen
    ratio = tau[r:] / np.where(tied, np.inf, gap)
    lost = (ratio * (1 + ratio)).sum(axis=1) / (n + ratio.sum(axis=1))
    return float(np.where(tied.any(axis=1), 0.0, np.maximum(1 - lost, 0.0)).mean())


def information_plus_noise_limits(
    eigenvalues: npt.ArrayLike, sigma: float, n_samples: int
) -> tuple[np.ndarray, np.ndarray]:
    r"""Eigenvalues of noisy samples, and alignments with the principal axes of the *same* samples.

    The clean samples X are fixed, and only the noise of :math:`Y=X+\sigma Z` is random: the model
    "information plus noise" [Loubaton and Vallet 2011]. With the eigenvalues
    :math:`\lambda_i` of :math:`X^\top X/N`, :math:`\gamma=d/N`, and sums over :math:`j\ne i`,

    .. math:: \xi_i = 1+\frac{\sigma^2}N\sum_j\frac1{\lambda_i-\lambda_j},\qquad
              \hat\lambda_i \simeq \lambda_i\xi_i^2+\sigma^2(1-\gamma)\xi_i,

    .. math:: c_i^2 \simeq \xi_i-\Big(2\lambda_i+\frac{\sigma^2(1-\gamma)}{\xi_i}\Big)
              \frac{\sigma^2}N\sum_j\frac1{(\lambda_i-\lambda_j)^2},

    cut off at 0. No law of the samples enters. For one spike these are :func:`eigenvalue_limit`
    and :func:`alignment_limit`; chapter 9 of the book derives the rest, without a bound on errors.

    Parameters
    ----------
    eigenvalues : array_like, shape (d,)
        **All** eigenvalues of the clean *sample* covariance, zeros included, descending.
    sigma : float
        Noise standard deviation, ``>= 0``.
    n_samples : int
        Number N of samples; N - 1 if covariances are centred.

    Returns
    -------
    eigenvalue, alignment : ndarray, shape (d,)
        In a tie the alignment is 0: a repeated eigenvalue has no eigenvector of its own.

    Examples
    --------
    >>> spectrum = np.append(4.0, np.zeros(1999))
    >>> value, seen = information_plus_noise_limits(spectrum, sigma=1.0, n_samples=2000)
    >>> round(float(value[0]), 3), round(float(seen[0]), 3)
    (6.249, 0.75)
    """
    lam = _check.eigenvalues("eigenvalues", eigenvalues)
    variance = _check.number("sigma", sigma, 0.0) ** 2
    n = _check.integer("n_samples", n_samples, 1)
    gap, count, _, tied = _gaps(lam)
    xi = 1 + variance / n * (count / gap).sum(axis=1)
    slope = variance / n * (count / gap**2).sum(axis=1)
    rest = variance * (1 - lam.size / n)
    seen = (xi > 0) & ~tied
    share = np.divide(rest, xi, out=np.zeros_like(lam), where=seen)
    alignment = np.where(seen, np.maximum(xi - (2 * lam + share) * slope, 0.0), 0.0)
    return lam * xi**2 + rest * xi, alignment
