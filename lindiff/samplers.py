r"""Samplers: one loop and step rules of a few lines each.

A *step rule* takes a state :math:`x_t` at level :math:`\sigma_t` to the next level and returns the
mean and the standard deviation of the Gaussian transition,

.. math:: x_{t-1} = m(x_t) + s\,\varepsilon_t .

Where the standard deviation differs between modes, s is a function of the gain of a mode, and the
denoiser must be a :class:`~lindiff.denoisers.LinearDenoiser`. Rules that remember earlier levels
are in :mod:`lindiff.multistep`, the exact law of a sampler with a linear denoiser in
:mod:`lindiff.laws`.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from array_api_compat import array_namespace, device, is_array_api_obj

from lindiff import _check
from lindiff.types import Denoiser, Noise, Rng, StepRule


class State(NamedTuple):
    """State of a sampler: level (standard deviation), sample and its denoised version."""

    sigma: float
    x: Any
    denoised: Any


def _stochastic_step(
    x: Any,
    denoised: Any,
    sigma: float,
    sigma_next: float,
    denoiser: Denoiser | None,
    *,
    eta: float,
) -> tuple[Any, float]:
    """Mean and standard deviation of the step with stochasticity `eta`."""
    ratio = sigma_next / sigma
    # (sigma_next^2 - noise^2) / sigma_next^2, written so that nothing cancels at eta = 1
    left = (1 - eta**2) + (eta * ratio) ** 2
    if left < 0 < sigma_next:
        raise ValueError(
            f"eta is {eta} for the step from {sigma} to {sigma_next}; "
            f"expected at most {(1 - ratio**2) ** -0.5:.4g} there: use smaller steps"
        )
    keep = ratio * max(left, 0.0) ** 0.5
    return keep * x + (1 - keep) * denoised, eta * sigma_next * (1 - ratio**2) ** 0.5


def ddim_eta(value: float) -> Callable[..., tuple[Any, float]]:
    r"""Step rule of the :math:`\eta`-family, from DDIM (0) to DDPM (1) [Song et al. 2021, eq. 16].

    It removes noise as :math:`D + \sqrt{\sigma_{t-1}^2-s^2}\,(x-D)/\sigma_t` and injects
    :math:`s = \eta\,\sigma_{t-1}\sqrt{1-\sigma_{t-1}^2/\sigma_t^2}`. On fine schedules it follows
    :math:`dx = \frac{1+\eta^2}{2}\nabla\log p\,d\tau + \eta\,dW` in reversed variance time.

    Parameters
    ----------
    value : float
        Stochasticity, ``>= 0``. Above 1 the steps must be small enough.

    Returns
    -------
    callable
        A step rule for :func:`sample` and for everything in :mod:`lindiff.laws`.

    Raises
    ------
    ValueError
        If `value` is negative, or (when stepping) too large for the step.

    Examples
    --------
    >>> mean, noise = ddim_eta(1.0)(1.0, 0.0, 2.0, 1.0, denoiser=None)
    >>> round(mean, 4), round(noise, 4)
    (0.25, 0.866)
    """
    return partial(_stochastic_step, eta=_check.number("eta", value, 0.0))


def ddim(
    x: Any, denoised: Any, sigma: float, sigma_next: float, denoiser: Denoiser | None
) -> tuple[Any, float]:
    r"""Deterministic step: Euler for the probability-flow ODE in sigma [Song et al. 2021].

    With the Wiener denoiser mode i has gain
    :math:`(\lambda_i+\sigma_{t-1}\sigma_t)/(\lambda_i+\sigma_t^2)`.

    Examples
    --------
    >>> ddim(1.0, 0.0, 2.0, 1.0, denoiser=None)
    (0.5, 0.0)
    """
    return _stochastic_step(x, denoised, sigma, sigma_next, denoiser, eta=0.0)


def ddpm(
    x: Any, denoised: Any, sigma: float, sigma_next: float, denoiser: Denoiser | None
) -> tuple[Any, float]:
    r"""Ancestral step: :math:`x_{t-1}` given :math:`x_t` and x = D [Ho et al. 2020].

    Examples
    --------
    >>> mean, noise = ddpm(1.0, 0.0, 2.0, 1.0, denoiser=None)
    >>> round(mean, 4), round(noise, 4)
    (0.25, 0.866)
    """
    return _stochastic_step(x, denoised, sigma, sigma_next, denoiser, eta=1.0)


def ancestral(
    x: Any, denoised: Any, sigma: float, sigma_next: float, denoiser: Denoiser | None
) -> tuple[Any, Callable[[Any], Any]]:
    r"""Exact ancestral step of a Gaussian law: draws :math:`x_{t-1}` given :math:`x_t`.

    The mean is that of :func:`ddpm`. The variance is
    :math:`\sigma_{t-1}^2(1-\rho)+(1-\rho)^2\sigma_t^2g` in a mode of gain g, with
    :math:`\rho=\sigma_{t-1}^2/\sigma_t^2`: what :func:`ddpm` has, and the covariance
    :math:`\sigma_t^2W` of x given :math:`x_t`, which it leaves out. With the Wiener denoiser,
    started from the noisy law and run to level zero, it draws from the data law in any number
    of steps.

    Examples
    --------
    >>> mean, noise = ancestral(1.0, 0.0, 2.0, 1.0, denoiser=None)
    >>> round(mean, 4), round(noise(0.0), 4), round(noise(0.5), 4)
    (0.25, 0.866, 1.3693)
    """
    mean, least = ddpm(x, denoised, sigma, sigma_next, denoiser)
    taken = 1 - (sigma_next / sigma) ** 2
    return mean, lambda gain: (least**2 + (taken * sigma) ** 2 * gain) ** 0.5


def heun(
    x: Any, denoised: Any, sigma: float, sigma_next: float, denoiser: Denoiser
) -> tuple[Any, float]:
    """Second-order step for the ODE: Euler, then the trapezoidal rule [Karras et al. 2022, alg. 1].

    The last step, to level zero, is Euler's.

    Examples
    --------
    >>> heun(1.0, 0.0, 2.0, 1.0, denoiser=lambda y, sigma: 0.0)
    (0.5, 0.0)
    """
    slope = (x - denoised) / sigma
    euler = x + (sigma_next - sigma) * slope
    if sigma_next == 0:
        return euler, 0.0
    slope_next = (euler - denoiser(1 * euler, sigma_next)) / sigma_next  # a copy, as in `denoise`
    return x + (sigma_next - sigma) * (slope + slope_next) / 2, 0.0


def redenoise(
    x: Any, denoised: Any, sigma: float, sigma_next: float, denoiser: Denoiser | None
) -> tuple[Any, float]:
    """Denoise and add nothing back: the step whose repetition is a power iteration.

    Examples
    --------
    >>> redenoise(1.0, 0.25, 2.0, 1.0, denoiser=None)
    (0.25, 0.0)
    """
    return denoised, 0.0


def _require_rule(step: StepRule) -> StepRule:
    """Return `step`, a step rule.

    Examples
    --------
    >>> _require_rule(heun) is heun
    True
    """
    if step is ddim_eta or not callable(step):
        given = "ddim_eta without its value" if step is ddim_eta else _check.brief(step)
        raise ValueError(f"step is {given}; expected a step rule, such as heun or ddim_eta(0.5)")
    return step


def _begin(step: StepRule) -> StepRule:
    """Return the rule for one run: of a rule with a memory, one that has seen nothing."""
    return getattr(step, "begin", lambda: step)()


def _denoise(denoiser: Denoiser, x: Any, sigma: float) -> Any:
    """Call a denoiser on a copy of `x`, for it may work in place, and check what it returns."""
    out, xp = denoiser(1 * x, sigma), array_namespace(x)
    if not is_array_api_obj(out) or array_namespace(out) is not xp:
        raise ValueError(
            f"result of the denoiser is of type {type(out).__name__}; "
            f"expected {type(x).__name__}, as the state is"
        )
    _check.same_shape("result of the denoiser", out.shape, x.shape)
    if xp.isdtype(out.dtype, "complex floating"):
        raise ValueError(f"result of the denoiser is complex ({out.dtype}); expected {x.dtype}")
    if not _check.holds(xp.all(xp.isfinite(out))):
        raise ValueError(f"result of the denoiser at sigma {sigma} has nan or inf; expected finite")
    return out


def _scaled(noise: Noise, white: Any, sigma: float, denoiser: Denoiser) -> Any:
    """Give white noise the standard deviation that a step rule asks for."""
    if not callable(noise):
        return noise * white
    if not hasattr(denoiser, "colour"):
        raise ValueError(
            f"denoiser is {_check.brief(denoiser)}; expected a LinearDenoiser for this step rule "
            "(ddpm and ddim_eta(1.0) take any denoiser)"
        )
    return denoiser.colour(white, sigma, noise)


def sample(
    denoiser: Denoiser,
    y: Any,
    sigmas: npt.ArrayLike,
    *,
    step: StepRule = ddim,
    rng: Rng = None,
) -> Iterator[State]:
    """Run a sampler, yielding the state at every level, the start first.

    A torch network builds one graph through all steps, which is what a gradient of the result
    needs; otherwise run the sampler under ``torch.no_grad()``, at a fraction of the memory.

    Parameters
    ----------
    denoiser : callable
        ``denoiser(y, sigma)`` of the shape and array type of `y`, `sigma` a float. It is given a
        copy, which it may change. What it returns is kept: to be able to compare the states of a
        run, return a new array at each call.
    y : array, shape (n, d) or (n, c, h, w)
        State at level ``sigmas[0]``; NumPy, torch, or another array type. Its precision is kept if
        the denoiser keeps it.
    sigmas : array_like, shape (T + 1,)
        Decreasing standard deviations; the last may be 0.
    step : callable, default :func:`ddim`
        Step rule.
    rng : numpy.random.Generator, int or None
        For stochastic step rules. The noise is the same for every array type.

    Yields
    ------
    State
        T + 1 of them. At level 0, ``denoised`` is the sample itself.

    Examples
    --------
    >>> import numpy as np
    >>> from lindiff import Gaussian, LinearDenoiser
    >>> denoiser = LinearDenoiser(Gaussian(np.zeros(1), [3.0], np.eye(1)))
    >>> [round(float(s.x[0, 0]), 4) for s in sample(denoiser, np.array([[2.0]]), [1.0, 0.5, 0.0])]
    [2.0, 1.75, 1.6154]
    """
    sigmas, step = _check.sigmas(sigmas), _begin(_require_rule(step))
    rng = _check.generator(rng)
    if not hasattr(y, "shape"):
        raise ValueError(f"y is a {type(y).__name__}; expected an array")
    if np.ma.is_masked(y):
        raise ValueError("y has masked entries; expected an array without a mask")
    x, xp = y, array_namespace(y)
    if xp.isdtype(y.dtype, "complex floating"):
        raise ValueError(f"y is complex ({y.dtype}); expected real numbers")
    if not _check.holds(xp.all(xp.isfinite(y))):
        raise ValueError("y contains nan or inf; expected finite values")
    for sigma, sigma_next in zip(sigmas[:-1].tolist(), sigmas[1:].tolist(), strict=True):
        denoised = _denoise(denoiser, x, sigma)
        yield State(sigma, x, denoised)
        x, noise = step(x, denoised, sigma, sigma_next, denoiser)
        if callable(noise) or noise > 0:
            fresh = xp.asarray(rng.standard_normal(tuple(x.shape)), dtype=x.dtype, device=device(x))
            x = x + _scaled(noise, fresh, sigma, denoiser)
    last = float(sigmas[-1])
    yield State(last, x, x if last == 0 else _denoise(denoiser, x, last))
