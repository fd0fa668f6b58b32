r"""The oracle for anybody's sampler: does it draw from the law that its formula promises?

With the exact denoiser of a Gaussian law every sampler that is linear in its state has an output
law in closed form, mode by mode (:func:`lindiff.laws.law`). Give the exact denoiser to a sampler
in place of a network, and compare.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from array_api_compat import array_namespace, is_array_api_obj

from lindiff import _check, _measure, _mistakes
from lindiff.denoisers import LinearDenoiser
from lindiff.gaussian import Gaussian
from lindiff.samplers import _require_rule, ddim
from lindiff.types import Rng, StepRule


def standard_law(dim: int = 6) -> Gaussian:
    r"""Gaussian law in which mistakes do not hide.

    Its standard deviations go from 2 to 0.1, its mean is 1.5 standard deviations from zero in
    every mode, and no eigenvector is a coordinate axis, constant or symmetric.

    Parameters
    ----------
    dim : int
        Dimension d, at least 2; all modes are present.

    Returns
    -------
    Gaussian

    Examples
    --------
    >>> standard_law().eigenvalues.round(3)
    array([4.   , 1.207, 0.364, 0.11 , 0.033, 0.01 ])
    """
    at = np.arange(_check.integer("dim", dim, 2))
    basis = np.eye(dim)
    for vector in (np.sqrt(at + 2.0), np.cos(at)):  # two reflections make a rotation
        basis = basis - 2 * np.outer(basis @ vector, vector) / (vector @ vector)
    eigenvalues = np.geomspace(4.0, 0.01, dim)
    return Gaussian(1.5 * np.sqrt(eigenvalues) * (-1.0) ** at @ basis, eigenvalues, basis)


@dataclass(frozen=True)
class ExactModel:
    r"""The exact denoiser of a Gaussian law in the form in which a library asks for its network.

    The state of the forward process is :math:`x = s(\sigma)(x_0+\sigma\varepsilon)`, with
    s = 1 ("ve"), :math:`1/\sqrt{1+\sigma^2}` ("vp": :math:`s=\sqrt{\bar\alpha}`), or
    :math:`1/(1+\sigma)` ("flow": :math:`x=(1-t)x_0+t\varepsilon`). The model predicts "x"
    (:math:`\hat x`), "epsilon" (:math:`\hat\varepsilon`), "v"
    (:math:`s\hat\varepsilon-s\sigma\hat x` [Salimans and Ho 2022]), "score"
    (:math:`-\hat\varepsilon/(s\sigma)`) or "velocity" (:math:`\hat\varepsilon-\hat x`).

    Parameters
    ----------
    law : Gaussian
    predicts : str
    coordinates : str

    Examples
    --------
    >>> model = ExactModel(Gaussian([0.0], [3.0], [[1.0]]), predicts="epsilon")
    >>> model(np.array([[4.0]]), 1.0)
    array([[1.]])
    """

    law: Gaussian
    predicts: str = "x"
    coordinates: str = "ve"
    form: _mistakes.Form = field(init=False, repr=False)

    def __post_init__(self) -> None:
        _check.kind("law", self.law, Gaussian)
        for name, known in (
            ("predicts", _mistakes.PREDICTIONS),
            ("coordinates", _mistakes.SCALES),
        ):
            if getattr(self, name) not in known:
                value = _check.brief(getattr(self, name))
                raise ValueError(f"{name} is {value}; expected one of {', '.join(known)}")
        object.__setattr__(self, "form", _mistakes.Form(self.predicts, self.coordinates))

    def __call__(self, x: Any, sigma: Any) -> Any:
        """Return the prediction at the state `x`, of any shape (n, ...) and array type.

        `sigma` is the noise-to-signal ratio in every coordinates: a number, or an array in which
        all entries are the same.
        """
        level = _level(sigma)
        scale, a, b = self.form.numbers(level)
        if b == 0:
            raise ValueError(f"sigma is 0; expected a positive level to predict {self.predicts}")
        xp = array_namespace(x)
        flat = xp.reshape(x, (x.shape[0], -1))
        clean = LinearDenoiser(self.law)(flat / scale, level)
        return xp.reshape((clean - a * flat) / b, tuple(x.shape))


def _level(sigma: Any) -> float:
    """Return the one level of a call."""
    if hasattr(sigma, "detach"):
        sigma = sigma.detach().cpu()
    values = np.unique(np.asarray(sigma, dtype=float))
    if values.size != 1:
        raise ValueError(f"sigma has {values.size} different values; expected one per call")
    return float(values[0])


@dataclass(frozen=True, eq=False)
class SamplerReport:
    """What a sampler does in each mode, and what the rule promises; print it to read it.

    Attributes
    ----------
    rule : str
        Name of the step rule.
    eigenvalues : ndarray, shape (r,)
        Variances of the law.
    gain, expected_gain : ndarray, shape (r,)
        Response of the result to the starting noise.
    variance, expected_variance : ndarray, shape (r,)
        Variance of the result, for starting noise of standard deviation ``sigmas[0]``.
    response_error : ndarray, shape (r, r)
        Difference from the expected response of mode i (row) to the start in mode j, for starting
        noise as above, in standard deviations of the result.
    bias : ndarray, shape (r,)
        Mean of the result less that of the law, in the same unit.
    draws : int
        Number of draws; 0 for a deterministic sampler, whose map is known to rounding.
    chance : float
        Probability that a correct sampler differs so much; 0 or 1 for a deterministic one.
    agrees : bool
        Whether `chance` is above the rate of false alarms.
    explanations : tuple of str
        Mistakes whose exact law fits what was measured, if the rule does not.

    Examples
    --------
    >>> report = sampler_report(lambda x, model: model(x, 3.0), [3.0, 0.0])
    >>> print(report.verdict())
    The sampler follows ddim (deterministic: known to rounding).
    """

    rule: str
    eigenvalues: np.ndarray
    gain: np.ndarray
    expected_gain: np.ndarray
    variance: np.ndarray
    expected_variance: np.ndarray
    response_error: np.ndarray
    bias: np.ndarray
    draws: int
    chance: float
    agrees: bool
    explanations: tuple[str, ...]

    @property
    def variance_error(self) -> np.ndarray:
        """Relative difference of each variance, shape (r,)."""
        return self.variance / self.expected_variance - 1

    def __str__(self) -> str:
        columns = ("eigenvalues", "gain", "expected_gain", "variance", "expected_variance", "bias")
        heads = ("eigenvalue", "gain", "expected", "variance", "expected", "bias")
        lines = ["".join(f"{head:>12}" for head in heads)]
        shown = [getattr(self, name) for name in columns[:-1]]
        shown.append(self.bias.round(6) + 0.0)  # in standard deviations: less is rounding
        for row in zip(*shown, strict=True):
            lines.append("".join(f"{value:12.4g}" for value in row))
        return "\n".join([*lines, self.verdict()])

    def verdict(self) -> str:
        """Say in words what was found."""
        how = "deterministic: known to rounding"
        if self.draws:
            chance = f"{self.chance:.1g}" if self.chance > 1e-15 else "below 1e-15"
            how = f"{self.draws} draws; chance {chance}"
        if self.agrees:
            return f"The sampler follows {self.rule} ({how})."
        errors = (self.variance_error, self.response_error, self.bias)
        variance, response, bias = (float(np.abs(error).max()) for error in errors)
        lines = [
            f"The sampler does not follow {self.rule} ({how}).",
            f"Variances differ by up to {variance:.2g} of themselves,",
            f"responses to the start by {response:.2g} "
            f"and means by {bias:.2g} standard deviations.",
        ]
        if self.explanations:
            lines.append(f"It looks as if {'; or '.join(self.explanations)}.")
        if not self.draws and max(variance, response, bias) < 1e-3:
            lines.append("If it computes in lower precision than its states have, say so by rtol.")
        return "\n".join(lines)


def sampler_report(
    sample: Callable,
    sigmas: npt.ArrayLike,
    *,
    step: StepRule = ddim,
    predicts: str = "x",
    coordinates: str = "ve",
    law: Gaussian | None = None,
    like: Any = None,
    draws: int = 10_000,
    false_alarm: float = 1e-4,
    rtol: float | None = None,
    rng: Rng = None,
) -> SamplerReport:
    r"""Run a sampler on a Gaussian law and compare it with the exact law of a step rule.

    A deterministic sampler is probed at the mean and at unit vectors, which gives its affine map
    to rounding. A stochastic one is run on random starts: least squares gives its map, and
    normal, chi-squared and Student tests, corrected for their number, say whether it differs.

    Parameters
    ----------
    sample : callable
        ``sample(start, model)`` returns the result for a starting state of shape (n, ...) at
        level ``sigmas[0]``. The model is an :class:`ExactModel`.
    sigmas : array_like, shape (T + 1,)
        Decreasing noise-to-signal ratios that the sampler visits; for an alpha_bar they
        are :math:`\sqrt{(1-\bar\alpha)/\bar\alpha}`, for the time t of a flow t/(1 - t), which
        must start below 1.
    step : callable, default :func:`~lindiff.samplers.ddim`
        The rule that it should follow: one of :mod:`lindiff.samplers`, or a function of your own.
    predicts, coordinates : str
        Form of the model, as in :class:`ExactModel`; start and result have the same coordinates.
    law : Gaussian, optional
        With all its modes; by default :func:`standard_law`, in the dimension of `like`.
    like : array, optional
        States have its array type, precision, device and ``shape[1:]``; by default (n, 6), NumPy.
    draws : int
        Number of samples that a stochastic sampler is asked for.
    false_alarm : float
        Probability at which a correct stochastic sampler is reported as wrong.
    rtol : float, optional
        For a deterministic sampler, differences up to this many standard deviations of the result
        count as rounding; by default the square root of the machine epsilon. Give it where the
        sampler computes in lower precision than `like` has.
    rng : numpy.random.Generator, int or None
        For the starts. The sampler draws its own noise, which may come from the same seed, but not
        from the same generator.

    Returns
    -------
    SamplerReport

    Raises
    ------
    ValueError
        If an argument is wrong, or the sampler returns another shape or what is not finite.

    Examples
    --------
    >>> def euler(x, model):
    ...     for sigma, lower in ((9.0, 3.0), (3.0, 1.0), (1.0, 0.0)):
    ...         x = x + (lower - sigma) * (x - model(x, sigma)) / sigma
    ...     return x
    >>> sampler_report(euler, [9.0, 3.0, 1.0, 0.0]).agrees
    True
    """
    sigmas, step = _check.sigmas(sigmas), _require_rule(step)
    law, like = _law_and_like(law, like)
    if not 0 < _check.number("false_alarm", false_alarm, 0.0) < 1:
        raise ValueError(f"false_alarm is {false_alarm}; expected a probability between 0 and 1")
    model = ExactModel(law, predicts, coordinates)
    found = _measure.measure(sample, model, sigmas, like, draws, rtol, rng)
    gains, mean = LinearDenoiser(law).gains, law.basis @ law.mean

    def known(wrong: _mistakes.Mistake) -> _mistakes.AffineModes:
        with np.errstate(all="ignore"):  # a mistake may overflow
            modes = _mistakes.affine_modes(wrong, gains, mean, model.form)
        return modes._replace(gain=sigmas[0] * modes.gain)

    rule = known(_mistakes.Mistake("", sigmas, step))
    chance, explanations = _measure.compare(found, rule), found.remarks
    agrees = chance > false_alarm and not explanations
    if not agrees and not explanations:
        every = _mistakes.mistakes(sigmas, step, model.form)
        fits = (m.name for m in every if _measure.compare(found, known(m)) > false_alarm)
        explanations = tuple(fits)
    name = _mistakes.rule_name(step)
    return _report(found, rule, law.eigenvalues, sigmas[0], (name, chance, agrees, explanations))


def _law_and_like(law: Gaussian | None, like: Any) -> tuple[Gaussian, Any]:
    """Check the law and the form of the states, or choose them."""
    law = law if law is None else _check.kind("law", law, Gaussian)
    like = np.empty((0, 6 if law is None else law.dim)) if like is None else like
    floating = is_array_api_obj(like) and array_namespace(like).isdtype(like.dtype, "real floating")
    if not floating or like.ndim < 2:
        raise ValueError(
            f"like is {_check.brief(like)}; expected an array (n, ...) of floating-point numbers, "
            "such as torch.empty(0, 6)"
        )
    dim = int(np.prod(like.shape[1:]))
    law = standard_law(dim) if law is None else law
    _check.same_shape("one state of like, flattened,", (dim,), (law.dim,))
    values = law.eigenvalues
    if law.rank != law.dim or values[-1] < 1e-12 * values[0]:
        raise ValueError(
            f"law has {law.rank} modes in dimension {law.dim}, of variances down to "
            f"{values[-1] if law.rank else 0.0:.3g}; expected all modes, each with some variance"
        )
    return law, like


def _report(
    found: _measure.Measured,
    rule: _mistakes.AffineModes,
    eigenvalues: np.ndarray,
    unit: float,
    judged: tuple[str, float, bool, tuple[str, ...]],
) -> SamplerReport:
    """Gather what was found into a report."""
    noise = np.diag(found.residual) / max(found.freedom, 1)
    gain = np.diag(found.matrix)
    variance = rule.gain**2 + rule.noise
    name, chance, agrees, explanations = judged
    return SamplerReport(
        rule=name,
        eigenvalues=eigenvalues,
        gain=gain / unit,
        expected_gain=rule.gain / unit,
        variance=gain**2 + noise,
        expected_variance=variance,
        response_error=(found.matrix - np.diag(rule.gain)) / np.sqrt(variance)[:, None],
        bias=found.offset / np.sqrt(variance),
        draws=found.freedom and found.freedom + len(gain) + 1,
        chance=chance,
        agrees=agrees,
        explanations=explanations,
    )


def assert_sampler_matches(
    sample: Callable, sigmas: npt.ArrayLike, **settings: Any
) -> SamplerReport:
    """Raise AssertionError unless a sampler follows the exact law of a step rule.

    Parameters
    ----------
    sample, sigmas, **settings
        As for :func:`sampler_report`.

    Returns
    -------
    SamplerReport

    Raises
    ------
    AssertionError
        With the table and, where the measured law is that of a known mistake, its name.

    Examples
    --------
    >>> def stops_early(x, model):
    ...     return x + (1.0 - 3.0) * (x - model(x, 3.0)) / 3.0
    >>> try:
    ...     assert_sampler_matches(stops_early, [3.0, 1.0, 0.0])
    ... except AssertionError as error:
    ...     print(str(error).splitlines()[-1])
    It looks as if the last step is missing: it stops at sigma = 1.
    """
    report = sampler_report(sample, sigmas, **settings)
    if not report.agrees:
        raise AssertionError(f"\n{report}")
    return report
