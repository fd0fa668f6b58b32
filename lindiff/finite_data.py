r"""Finite data: what a denoiser learnt from N samples costs, in closed form.

Known mean throughout; for an estimated one replace N by N - 1.
"""

import itertools

import numpy as np
import numpy.typing as npt
import scipy.linalg
import scipy.optimize
import scipy.special

from lindiff import _check
from lindiff.denoisers import wiener
from lindiff.draws import _symmetric_root, wishart
from lindiff.gaussian import Gaussian
from lindiff.spiked import alignment_limit
from lindiff.types import Rng


def effective_noise(eigenvalues: npt.ArrayLike, sigma: float, n_samples: int) -> float:
    r"""Effective noise variance :math:`\kappa` of a denoiser fitted to N samples.

    Averaged over training sets, :math:`\hat\Sigma(\hat\Sigma+\sigma^2)^{-1}` acts like
    :math:`\Sigma(\Sigma+\kappa)^{-1}`, where

    .. math:: \kappa = \sigma^2+\frac\kappa N\sum_i\frac{\lambda_i}{\lambda_i+\kappa}

    [Wang, Zavatone-Veth and Pehlevan 2026].

    Parameters
    ----------
    eigenvalues : array_like, shape (r,)
        Eigenvalues of the clean covariance, descending; zeros do not matter.
    sigma : float
        Noise standard deviation, ``>= 0``.
    n_samples : int
        Number N of samples.

    Returns
    -------
    float
        Between :math:`\sigma^2` and :math:`\sigma^2+\mathrm{tr}\,\Sigma/N`, a variance.

    Examples
    --------
    >>> round(effective_noise([1.0, 0.5, 0.25], sigma=0.5, n_samples=10), 4)
    0.3062
    """
    lam = _check.eigenvalues("eigenvalues", eigenvalues)
    variance = _check.number("sigma", sigma, 0.0) ** 2
    n = _check.integer("n_samples", n_samples, 1)
    lam = lam[lam > 0]

    def gap(
        kappa: float,
    ) -> float:  # increasing in kappa: divided by kappa to remove the root at zero
        return 1 - variance / kappa - (lam / (lam + kappa)).sum() / n

    if lam.size == 0 or (variance == 0 and lam.size <= n):
        return variance
    # in logarithms, where the tolerance is relative: kappa may be far below the eigenvalues
    low = np.log(variance) if variance > 0 else np.log(lam[-1]) - 40 - np.log(n)
    high = np.log(variance + lam.sum() / n) + 1e-12
    root = scipy.optimize.brentq(lambda u: gap(np.exp(u)), low, high, xtol=1e-14, rtol=1e-14)
    return float(np.exp(root))


def infinite_draw_risk(eigenvalues: npt.ArrayLike, sigma: float, n_samples: int) -> float:
    r"""Expected error of the denoiser fitted to N samples with infinitely many noise draws.

    With :math:`\kappa` of :func:`effective_noise` and
    :math:`\mathrm{df}_k=\sum_i(\lambda_i/(\lambda_i+\kappa))^k`,

    .. math:: R = \sigma^2\,\mathrm{df}_1 + (\kappa^2-\sigma^4)\,
              \frac{\sum_i\lambda_i/(\lambda_i+\kappa)^2}{1-\mathrm{df}_2/N}.

    Asymptotic in d and N at fixed ratio, for centred data.

    Parameters
    ----------
    eigenvalues, sigma, n_samples
        As for :func:`effective_noise`; `sigma` positive.

    Returns
    -------
    float
        Squared error per sample, summed over the dimensions.

    Examples
    --------
    >>> round(infinite_draw_risk([1.0, 0.5, 0.25], sigma=0.5, n_samples=10**9), 4)
    0.4917
    >>> float((0.25 * wiener([1.0, 0.5, 0.25], 0.5)).sum().round(4))
    0.4917
    """
    lam = _check.eigenvalues("eigenvalues", eigenvalues)
    variance = _check.number("sigma", sigma, 0.0, open_low=True) ** 2
    kappa = effective_noise(lam, sigma, n_samples)
    share = lam / (lam + kappa)
    spread = (lam / (lam + kappa) ** 2).sum() / (1 - (share**2).sum() / n_samples)
    return float(variance * share.sum() + (kappa**2 - variance**2) * spread)


def single_draw_risk(eigenvalues: npt.ArrayLike, sigma: float, n_samples: int) -> float:
    r"""Expected error of least squares on N pairs with one noise draw each, Gaussian data.

    For :math:`N>d+1` exactly :math:`\frac{N-1}{N-d-1}` times the Wiener error :math:`\rho`. With
    fewer samples than dimensions the solution of least norm costs

    .. math:: \frac{\rho+\nu^2\sum_ig_i^2\tau_i/(\tau_i+\nu)^2}
              {1-\frac1N\sum_i\big(\tau_i/(\tau_i+\nu)\big)^2},\qquad
              \sum_i\frac{\tau_i}{\tau_i+\nu}=N,

    where :math:`\tau_i=\lambda_i+\sigma^2` and :math:`g_i=\lambda_i/\tau_i`. This is asymptotic in
    d and N at fixed ratio [Hastie, Montanari, Rosset and Tibshirani 2022; Cheng and Montanari
    2024], and for white data too low by a relative amount below :math:`1/(d-N)`.

    Parameters
    ----------
    eigenvalues, sigma, n_samples
        As for :func:`effective_noise`; `sigma` positive. The mean is known; d is the number of
        eigenvalues, zeros included.

    Returns
    -------
    float
        Infinite for :math:`|N-d|\le1`.

    Examples
    --------
    >>> round(single_draw_risk([1.0, 1.0], sigma=1.0, n_samples=5), 4)
    2.0
    >>> round(single_draw_risk([1.0] * 8, sigma=1.0, n_samples=4), 4)
    10.0
    """
    lam = _check.eigenvalues("eigenvalues", eigenvalues)
    n = _check.integer("n_samples", n_samples, 1)
    sigma = _check.number("sigma", sigma, 0.0, open_low=True)
    gains = wiener(lam, sigma)
    best = float(sigma**2 * gains.sum())
    if abs(n - lam.size) <= 1:
        return float("inf")
    if n > lam.size:
        return best * (n - 1) / (n - lam.size - 1)
    tau = lam + sigma**2
    nu = effective_noise(tau, 0.0, n)  # the noisy data have eigenvalues tau, and no ridge
    lost = nu / (tau + nu)
    missed = float((gains**2 * tau * lost**2).sum())  # outside the span of the samples
    return (best + missed) / float(1 - ((1 - lost) ** 2).sum() / n)


def denoiser_risk(model: Gaussian, matrix: npt.ArrayLike, sigma: float) -> float:
    r"""Mean squared error of a matrix on the centred law of `model`, exact.

    Wiener's error plus :math:`\|(A-W_\sigma)(\Sigma+\sigma^2)^{1/2}\|_F^2`.

    Parameters
    ----------
    model : Gaussian
        The law of the data; only its covariance is used.
    matrix : array_like, shape (d, d)
    sigma : float
        Noise standard deviation.

    Returns
    -------
    float

    Examples
    --------
    >>> from lindiff import Gaussian
    >>> denoiser_risk(Gaussian([0.0], [1.0], [[1.0]]), [[0.5]], sigma=1.0)
    0.5
    """
    a = _check.array("matrix", matrix, 2)
    _check.kind("model", model, Gaussian)
    _check.same_shape("matrix", a.shape, (model.dim, model.dim))
    sigma = _check.number("sigma", sigma, 0.0)
    clean = model.covariance()
    error = a - np.eye(model.dim)
    return float(np.sum((error @ clean) * error) + sigma**2 * np.sum(a**2))


def generated_variance(spikes: npt.ArrayLike, sigmas: npt.ArrayLike, gamma: float) -> np.ndarray:
    r"""Variance that DDIM gives each direction when every level has a basis learnt afresh.

    At each level the directions are those of N noisy samples with fresh noise, and the gains are
    :math:`g=\lambda/(\lambda+\sigma_t^2)` with eigenvalues corrected by
    :func:`~lindiff.spiked.spike_from_eigenvalue`. With :math:`a=\sigma_{t-1}/\sigma_t`, and
    :math:`c^2` the :func:`~lindiff.spiked.alignment_limit` at :math:`\sigma_t`, the variance
    along a true direction tends to

    .. math:: v_{t-1} = \big(a+(1-a)gc^2\big)^2v_t+(1-a)^2g^2c^2(1-c^2)\,\sigma_t^2,
              \qquad v_T=\sigma_T^2

    for d, N to infinity at fixed :math:`\gamma`. In the limit of small steps down to zero,
    :math:`\lambda/(1+\sqrt\gamma)^2` is left. Chapter 9 of the book has the proof.

    Parameters
    ----------
    spikes : array_like, shape (r,)
        Variances :math:`\lambda` of the data along the directions, descending.
    sigmas : array_like, shape (T + 1,)
        Decreasing standard deviations; the last may be 0.
    gamma : float
        Aspect ratio d/N, positive; d/(mN) for m draws of noise per sample.

    Returns
    -------
    ndarray, shape (T + 1, r)
        Variance of the state at each level, the first row for `sigmas[0]`.

    Examples
    --------
    >>> generated_variance([4.0, 0.5], [2.0, 1.0, 0.0], gamma=1.0).round(3)
    array([[4.  , 4.  ],
           [1.  , 1.  ],
           [0.48, 0.  ]])
    """
    lam = _check.eigenvalues("spikes", spikes)
    sigmas = _check.sigmas(sigmas)
    out = np.full((sigmas.size, lam.size), sigmas[0] ** 2)
    for t, (sigma, lower) in enumerate(itertools.pairwise(sigmas.tolist())):
        a, gain = lower / sigma, wiener(lam, sigma)
        c2 = alignment_limit(lam, sigma, gamma)
        heard = ((1 - a) * gain) ** 2 * c2 * (1 - c2)  # noise along the wrong part of the estimate
        out[t + 1] = (a + (1 - a) * gain * c2) ** 2 * out[t] + heard * sigma**2
    return out


def gaussian_fit_kl(dim: int, n_samples: int) -> tuple[float, float]:
    r"""Expected divergences between a Gaussian law and its fit, for known mean; exact.

    .. math:: \mathbb E\,\mathrm{KL}(p\|\hat p)=\tfrac d2\Big[\tfrac N{N-d-1}-1+L\Big],\quad
              \mathbb E\,\mathrm{KL}(\hat p\|p)=-\tfrac d2L,\quad
              L=\tfrac1d\sum_{i<d}\psi\big(\tfrac{N-i}2\big)+\ln\tfrac2N

    with the digamma function :math:`\psi`. They do not depend on the covariance.

    Parameters
    ----------
    dim, n_samples : int
        Dimension d and number of samples N, ``N >= d``.

    Returns
    -------
    forward, backward : float
        :math:`\mathrm{KL}(p\|\hat p)`, infinite for ``N <= d + 1``, and
        :math:`\mathrm{KL}(\hat p\|p)`, in nats.

    Examples
    --------
    >>> [round(k, 3) for k in gaussian_fit_kl(10, 10000)]
    [0.003, 0.003]
    """
    d = _check.integer("dim", dim, 1)
    n = _check.integer("n_samples", n_samples, d)
    logs = scipy.special.digamma((n - np.arange(d)) / 2).sum() + d * np.log(2 / n)
    forward = (d * n / (n - d - 1) - d + logs) / 2 if n > d + 1 else np.inf
    return float(forward), float(-logs / 2)


def least_squares_denoiser(
    x: npt.ArrayLike, sigma: float, draws: float, *, rng: Rng = None
) -> np.ndarray:
    r"""Matrix that regresses samples on `draws` noisy copies of each, about a known zero mean.

    Only Gram matrices are drawn, so the cost depends on neither N nor `draws`: the copies of one
    sample average to noise of variance :math:`\sigma^2/m`, and the rest of the noise is Wishart.

    Parameters
    ----------
    x : array_like, shape (N, d)
        Clean samples.
    sigma : float
        Noise standard deviation, positive.
    draws : int or inf
        Number m of noise draws per sample; ``inf`` gives
        :math:`\hat\Sigma(\hat\Sigma+\sigma^2)^{-1}`.
    rng : numpy.random.Generator, int or None

    Returns
    -------
    ndarray, shape (d, d)
        The denoiser is ``y @ matrix.T``.

    Raises
    ------
    ValueError
        If ``N * draws < d``, or an argument is out of its range.

    Examples
    --------
    >>> x = np.random.default_rng(0).standard_normal((4000, 2))
    >>> least_squares_denoiser(x, 1.0, np.inf, rng=1).round(1)
    array([[ 0.5, -0. ],
           [-0. ,  0.5]])
    """
    x = _check.array("x", x, 2)
    n, d = x.shape
    sigma = _check.number("sigma", sigma, 0.0, open_low=True)
    if draws == np.inf:
        clean = x.T @ x / n
        return scipy.linalg.solve(clean + sigma**2 * np.eye(d), clean, assume_a="pos").T
    m = _check.integer("draws", draws, 1)
    if n * m < d:
        raise ValueError(f"there are {n} x {m} noisy samples; expected at least d = {d}")
    rng = _check.generator(rng)
    core, extra = (x, 0) if n <= d else (_symmetric_root(x.T @ x), n - d)
    mean = core + sigma / np.sqrt(m) * rng.standard_normal(core.shape)
    noisy = mean.T @ mean + sigma**2 / m * wishart(d, extra, rng=rng)
    noisy += sigma**2 / m * wishart(d, n * (m - 1), rng=rng)
    return scipy.linalg.solve(noisy, mean.T @ core, assume_a="pos").T
