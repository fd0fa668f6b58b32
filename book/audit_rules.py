r"""Update rules of other people's samplers, applied to one mode: the reference of the audit.

Each is a step rule of :mod:`lindiff.samplers`, for the state in units of the clean data. It is
written from the formula of a paper or of the library's documentation, not from its code, but for
:func:`unipc` and :func:`predictor_corrector`. A multistep rule remembers; it is deterministic, so
that its law is its affine map.
"""

from functools import partial

import numpy as np

from lindiff.samplers import ddim

NODES, WEIGHTS = np.polynomial.legendre.leggauss(40)


def multistep(name, update):
    """Make a rule of ``update(past, sigma_next)``, past being a list of (sigma, x, denoised)."""
    past = []

    def rule(x, denoised, sigma, sigma_next, denoiser):
        if past and sigma >= past[-1][0]:  # a new run
            past.clear()
        past.append((sigma, x, denoised))
        return update(past, sigma_next), 0.0

    rule.__name__ = name
    return rule


def lagrange_integrals(nodes, low, high, weight):
    """Integrals of the Lagrange polynomials of `nodes` times a weight."""
    u = low + (high - low) * (NODES + 1) / 2
    w = weight(u) * WEIGHTS * (high - low) / 2
    out = []
    for i, node in enumerate(nodes):
        others = np.delete(nodes, i)
        basis = np.prod((u[:, None] - others) / (node - others), axis=1)
        out.append(float(w @ basis))
    return out


def adams_bashforth(order, name, quantity, variable, weight, assemble):
    """Adams-Bashforth of an order, for a quantity that is integrated over a variable."""

    def update(past, sigma_next):
        recent = past[-order:]
        nodes = np.array([variable(sigma) for sigma, _, _ in recent])
        parts = lagrange_integrals(nodes, nodes[-1], variable(sigma_next), weight)
        values = [quantity(*entry) for entry in recent]
        total = sum(part * value for part, value in zip(parts, values, strict=True))
        return assemble(past[-1][1], past[-1][0], sigma_next, total)

    return multistep(f"{name}, order {order}", update)


def slope(sigma, x, denoised):
    """The noise that the model sees."""
    return (x - denoised) / sigma


def sigma_ab(order):
    r"""Adams-Bashforth in sigma for :math:`dx/d\sigma=\hat\varepsilon` (k-diffusion's LMS)."""
    return adams_bashforth(
        order,
        "Adams-Bashforth in sigma",
        slope,
        lambda sigma: sigma,
        np.ones_like,
        lambda x, sigma, then, total: x + total,
    )


def noise_eab(order):
    r"""Exponential Adams-Bashforth in log sigma on :math:`\hat\varepsilon` (DEIS; azula's zEAB)."""
    return adams_bashforth(
        order,
        "exponential Adams-Bashforth on epsilon",
        slope,
        np.log,
        np.exp,
        lambda x, sigma, then, total: x + total,
    )


def data_eab(order):
    r"""Exponential Adams-Bashforth in log sigma on :math:`\hat x` (azula's xEAB)."""
    return adams_bashforth(
        order,
        "exponential Adams-Bashforth on x",
        lambda sigma, x, denoised: denoised,
        np.log,
        lambda u: np.exp(-u),
        lambda x, sigma, then, total: then / sigma * x - then * total,
    )


def velocity_ab(order):
    r"""Adams-Bashforth in :math:`t=\sigma/(1+\sigma)` on :math:`\hat\varepsilon-\hat x`."""
    return adams_bashforth(
        order,
        "Adams-Bashforth on the velocity",
        lambda sigma, x, denoised: slope(sigma, x, denoised) - denoised,
        lambda sigma: sigma / (1 + sigma),
        np.ones_like,
        lambda x, sigma, then, total: (x / (1 + sigma) + total) * (1 + then),
    )


def rosenbrock(order, wrong_level=False):
    r"""Rosenbrock-type exponential Adams-Bashforth, as azula's documentation of REAB has it.

    .. math:: x_s = \sqrt{\tfrac{1+\sigma_s^2}{1+\sigma_t^2}}\,x_t + \sqrt{1+\sigma_s^2}
              \sum_i f_i\int\frac{e^u}{1+e^{2u}}\,\ell_i(u)\,du,\qquad
              f = \frac{(1-a)\,x-\hat x}{\sqrt a},\quad a=\frac{\sigma^2}{1+\sigma^2}

    With `wrong_level` the second root is that of its code in variance-preserving coordinates:
    :math:`\sqrt{\alpha_s^2+\sigma_t^2}` for :math:`\sqrt{\alpha_s^2+\sigma_s^2}=1`.
    """

    def quantity(sigma, x, denoised):
        a = sigma**2 / (1 + sigma**2)
        return ((1 - a) * x - denoised) / a**0.5

    def assemble(x, sigma, then, total):
        factor = (1 + then**2) ** 0.5
        if wrong_level:
            factor *= (1 / (1 + then**2) + sigma**2 / (1 + sigma**2)) ** 0.5
        return ((1 + then**2) / (1 + sigma**2)) ** 0.5 * x + factor * total

    def weight(u):
        return np.exp(u) / (1 + np.exp(2 * u))

    name = "Rosenbrock exponential Adams-Bashforth"
    name += ", sigma_t in the factor of the integral" * wrong_level
    return adams_bashforth(order, name, quantity, np.log, weight, assemble)


def dpmpp_2m():
    r"""DPM-Solver++(2M) [Lu et al. 2022, alg. 2]: first order at the start and down to zero."""

    def update(past, then):
        sigma, x, denoised = past[-1]
        if len(past) > 1 and then > 0:
            before, _, older = past[-2]
            ratio = np.log(before / sigma) / np.log(sigma / then)
            denoised = denoised + (denoised - older) / (2 * ratio)
        return then / sigma * x + (1 - then / sigma) * denoised

    return multistep("DPM-Solver++(2M)", update)


def gradient_estimation(gamma):
    r"""Gradient estimation: :math:`\gamma\hat\varepsilon_t+(1-\gamma)\hat\varepsilon_{t+1}`."""

    def update(past, then):
        sigma, x, _ = past[-1]
        noise = slope(*past[-1])
        if len(past) > 1:
            noise = gamma * noise + (1 - gamma) * slope(*past[-2])
        return x + (then - sigma) * noise

    return multistep(f"gradient estimation, gamma {gamma:g}", update)


def unipc(order, steps):
    r"""UniPC with :math:`B_2(h)=e^{-h}-1`, data prediction [Zhao et al. 2023, alg. 5 to 8].

    The corrector reuses the estimate at the predicted state; the last step is of first order.
    """
    fixed = []  # the corrected states of this run

    def combine(past, fixed, then, order, newest=None):
        sigma, x, denoised = past[-1][0], fixed[-1], past[-1][2]
        h = np.log(sigma / then) if then > 0 else np.inf
        grows = 1 - then / sigma  # 1 - e^-h
        places = [np.log(sigma / entry[0]) / h for entry in past[-order:-1][::-1]]
        apart = [
            (entry[2] - denoised) / place
            for entry, place in zip(past[-order:-1][::-1], places, strict=True)
        ]
        if newest is not None:
            places, apart = [*places, 1.0], [*apart, newest - denoised]
        weights = [0.5] * len(apart)  # both halves at first order, by definition
        if (newest is not None and order > 1) or len(apart) > 1:
            weights = np.linalg.solve(
                np.vander(places, increasing=True).T, phis(h, len(places)) / -grows
            )
        total = sum(weight * part for weight, part in zip(weights, apart, strict=True))
        return then / sigma * x + grows * (denoised + total)

    def update(past, then):
        k = len(past) - 1
        if k == 0:
            fixed.clear()
            fixed.append(past[0][1])
        else:
            orders = [min(j + 1, order, steps - j) for j in range(steps)]
            sigma, _, denoised = past[-1]
            fixed.append(combine(past[:-1], fixed, sigma, orders[k - 1], denoised))
        return combine(past, fixed, then, min(k + 1, order, steps - k))

    return multistep(f"UniPC-{order}", update)


def phis(h, count):
    r"""Right-hand side :math:`i!\,\varphi_{i+1}(-h)` of the conditions of UniPC, in its scaling."""
    out, phi, factorial = [], np.expm1(-h) / -h - 1, 1.0
    for i in range(1, count + 1):
        out.append(phi * factorial)
        factorial *= i + 1
        phi = phi / -h - 1 / factorial
    return np.array(out)


def dpm_2(x, denoised, sigma, sigma_next, denoiser):
    """Midpoint rule at the geometric mean of the levels [Karras et al. 2022, after Lu et al.]."""
    if sigma_next == 0:
        return denoised, 0.0
    middle = (sigma * sigma_next) ** 0.5
    there, _ = ddim(x, denoised, sigma, middle, denoiser)
    return x + (sigma_next - sigma) * slope(middle, there, denoiser(there, middle)), 0.0


def dpmpp_2s(x, denoised, sigma, sigma_next, denoiser):
    """DPM-Solver++(2S), midpoint in log sigma [Lu et al. 2022, alg. 1]."""
    if sigma_next == 0:
        return denoised, 0.0
    middle = (sigma * sigma_next) ** 0.5
    there, _ = ddim(x, denoised, sigma, middle, denoiser)
    ratio = sigma_next / sigma
    return ratio * x + (1 - ratio) * denoiser(there, middle), 0.0


def euler_maruyama(alpha):
    r"""Euler-Maruyama in :math:`t=\sigma` for the reverse SDE with weight alpha of its noise."""

    def rule(x, denoised, sigma, sigma_next, denoiser):
        h = sigma - sigma_next
        mean = x - (1 + alpha) * h * slope(sigma, x, denoised)
        return mean, (2 * alpha * sigma * h) ** 0.5

    rule.__name__ = f"Euler-Maruyama, alpha {alpha:g}"
    return rule


def ito(eta):
    r"""azula's Itô sampler: :math:`x-(1+\eta^2)(1-\sigma_s/\sigma_t)(x-\hat x)`, whole noise."""

    def rule(x, denoised, sigma, sigma_next, denoiser):
        mean = x - (1 + eta**2) * (1 - sigma_next / sigma) * (x - denoised)
        return mean, eta * (sigma**2 - sigma_next**2) ** 0.5

    rule.__name__ = f"Itô step, eta {eta:g}"
    return rule


def predictor_corrector(delta):
    r"""One step towards equilibrium at the level, then DDIM (azula's PC)."""

    def rule(x, denoised, sigma, sigma_next, denoiser):
        settled = denoised + (1 - delta) ** 0.5 * (x - denoised)
        ratio = sigma_next / sigma
        mean, _ = ddim(settled, denoiser(settled, sigma), sigma, sigma_next, denoiser)
        return mean, lambda gain: delta**0.5 * sigma * (gain + ratio * (1 - gain))

    rule.__name__ = f"corrector with delta {delta:g}, then ddim"
    return rule


def churn(amount):
    """Euler's step after noise was added [Karras et al. 2022, alg. 2 without its lines 6 to 8]."""

    def rule(x, denoised, sigma, sigma_next, denoiser):
        higher = (1 + amount) * sigma
        mean, _ = ddim(x, denoiser(x, higher), higher, sigma_next, denoiser)
        ratio = sigma_next / higher

        def noise(gain):
            there = gain / (gain + (1 - gain) * (higher / sigma) ** 2)  # gain at the higher level
            return (higher**2 - sigma**2) ** 0.5 * (there + ratio * (1 - there))

        return mean, noise

    rule.__name__ = f"Euler with churn {amount:.3g}"
    return rule


def retargeted(step, targets, name):
    """Step to another level than the next one, and keep the variance-preserving state."""

    def rule(x, denoised, sigma, sigma_next, denoiser):
        target = targets[sigma]
        mean, noise = step(x, denoised, sigma, target, denoiser)
        factor = ((1 + sigma_next**2) / (1 + target**2)) ** 0.5
        return factor * mean, factor * noise

    rule.__name__ = name
    return rule


def named(name, step, **settings):
    """Give a step rule a name and fix its settings."""
    rule = partial(step, **settings)

    def call(*args):
        return rule(*args)

    call.__name__ = name
    return call
