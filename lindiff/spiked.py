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
    # equal up to rounding is a tie; a spectrum with few levels costs little
    rounding = max(a.size, 10) * np.finfo(float).eps * a.max(initial=0.0)
    group = np.cumsum(np.diff(a, prepend=a[:1]) < -rounding)
    count = np.bincount(group)
    level = np.bincount(group, a) / count
    gap = a[:, None] - level
    gap[np.arange(a.size), group] = np.inf  # the sums leave out the own level
    first = (count * level / gap).sum(axis=1) / n
    second = (count * level**2 / gap**2).sum(axis=1) / n
    tied = count[group] > 1
    seen = (second < 1) & (first > -1) & ~tied
    alignment = np.divide(1 - second, 1 + first, out=np.zeros_like(a), where=seen)
    return a * (1 + first), alignment
