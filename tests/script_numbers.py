"""What the scripts of the live figures compute, compared with the package on random settings.

Each comparison takes `call(source, argument)`, which evaluates a JavaScript expression in which
`it` is the argument, and returns its value: in a browser, or in a bare engine.
"""

import base64

import numpy as np
from scipy import integrate, stats

from lindiff import (
    Gaussian,
    LinearDenoiser,
    alignment_limit,
    ancestral,
    clock,
    ddim,
    ddim_eta,
    draw_alignment,
    eigenvalue_limit,
    emergence_sigma,
    geometric,
    heun,
    karras,
    law,
    wiener,
)
from lindiff.draws import _top_of_gram

HIGH, LOW = 40.0, 0.0005
ROUNDING = 1e-9


def close(found, expected):
    """Assert that two arrays agree to 1e-9 of each number, or of rounding beside the largest."""
    expected = np.asarray(expected, dtype=float)
    np.testing.assert_allclose(
        np.array(found, dtype=float), expected, rtol=ROUNDING, atol=1e-14 * np.abs(expected).max()
    )


def gaussian(eigenvalues):
    return Gaussian(np.zeros(len(eigenvalues)), eigenvalues, np.eye(len(eigenvalues)))


class Guided:
    """The denoiser with guidance weight w, by its gains."""

    def __init__(self, conditional, unconditional, weight):
        self.laws, self.weight = (conditional, unconditional), weight

    def gains(self, sigma):
        seen, free = (wiener(lam, sigma) for lam in self.laws)
        return free + self.weight * (seen - free)


def levels_of(schedule, steps):
    if schedule == "angles":
        levels = np.tan(np.linspace(np.arctan(HIGH), 0.0, steps + 1))
        levels[0] = HIGH
        return levels
    if schedule == "geometric":
        return geometric(steps, LOW, HIGH)
    return karras(steps, LOW, HIGH, rho=7.0 if schedule == "karras" else 1.0)


def rule_of(settings, conditional):
    """The step rule that a name of the laboratory stands for."""

    def with_noise_of_the_class(x, denoised, sigma, sigma_next, denoiser):
        mean, noise = ancestral(x, denoised, sigma, sigma_next, denoiser)
        return mean, lambda gain: noise(wiener(conditional, sigma))

    return {
        "ddim": ddim,
        "rescaled": ddim,
        "heun": heun,
        "eta": ddim_eta(settings["eta"]),
        "ancestral": with_noise_of_the_class,
    }[settings["rule"]]


def settings_of(rng):
    return {
        "modes": int(rng.integers(2, 70)),
        "slope": float(rng.uniform(0.3, 3)),
        "steps": int(rng.integers(1, 60)),
        "schedule": str(rng.choice(["geometric", "karras", "uniform", "angles"])),
        "rule": str(rng.choice(["ddim", "eta", "ancestral", "heun", "rescaled"])),
        "eta": float(rng.uniform(0, 1)),
        "weight": float(rng.choice([1.0, rng.uniform(0, 4)])),
        "high": HIGH,
        "low": LOW,
    }


def samplers(call, rng):
    """The whole sampler laboratory, against `law`, `clock` and the schedules."""
    for _ in range(40):
        settings = settings_of(rng)
        found = call("lindiff.samplerLaboratory(it)", settings)
        number = np.arange(1.0, settings["modes"] + 1)
        lam, free = number ** -settings["slope"], number ** (-settings["slope"] / 2)
        weight, steps = settings["weight"], settings["steps"]
        sigmas = levels_of(settings["schedule"], steps)
        denoiser, rule = Guided(lam, free, weight), rule_of(settings, lam)
        result = law(denoiser, sigmas, step=rule)
        variance = result.variance[-1]
        if settings["rule"] == "rescaled" and steps > 1:
            variance = variance * np.exp(np.log(HIGH / LOW) / (steps - 1) / 2)
        close(found["sigmas"], sigmas)
        close(found["variance"], variance)
        # where two laws agree, what is left of their distance is rounding
        distance = np.sqrt(((np.sqrt(variance) - np.sqrt(lam)) ** 2).sum())
        close(found["distance"] + 1, distance + 1)
        close(found["flow"], lam**weight * free ** (1 - weight))
        close(found["tilted"], 1 / (weight / lam - (weight - 1) / free))
        gain = result.gain[-1]
        if (gain > 1e-12 * abs(gain).max()).all():
            close(np.array(found["clock"]) + 1, clock(gain, lam) + 1)
        flow = np.exp(
            (
                weight * np.log(lam / (lam + HIGH**2))
                + (1 - weight) * np.log(free / (free + HIGH**2))
            )
            / 2
        )
        close(found["flowClock"], clock(flow, lam))
        assert found["evaluations"] == (2 * steps - 1 if settings["rule"] == "heun" else steps)


def laws(call, rng):
    """Laws at every level, for random spectra and starts."""
    rules = {
        "lindiff.stochastic(0)": ddim,
        "lindiff.stochastic(0.7)": ddim_eta(0.7),
        "lindiff.ancestral(gains)": ancestral,
        "lindiff.heun": heun,
    }
    for _ in range(10):
        lam = np.sort(rng.lognormal(0, 3, 12))[::-1]
        sigmas = np.append(np.sort(rng.lognormal(0, 2, 15))[::-1], 0.0)
        start = rng.lognormal(0, 2, 12)
        it = {"lam": lam.tolist(), "sigmas": sigmas.tolist(), "start": start.tolist()}
        for source, rule in rules.items():
            found = call(
                "(() => { const gains = (sigma) => lindiff.wiener(it.lam, sigma);"
                f" return lindiff.law(gains, it.sigmas, {source}, it.start); }})()",
                it,
            )
            expected = law(LinearDenoiser(gaussian(lam)), sigmas, step=rule, start=start)
            for level in range(len(sigmas)):
                close(found["gain"][level], expected.gain[level])
                close(found["variance"][level], expected.variance[level])


def orthonormal(rows):
    """Rows made orthonormal in their order."""
    q, r = np.linalg.qr(np.asarray(rows, dtype=float).T)
    return (q * np.sign(np.diagonal(r))).T


def decoded(text, width=None):
    numbers = np.frombuffer(base64.b64decode(text), dtype=np.int8).astype(float)
    return numbers if width is None else numbers.reshape(-1, width)


def digit_model(data, k):
    """The Gaussian of class k, or of all digits for k = 10, from what a page holds."""
    basis = orthonormal(decoded(data["basis"], data["side"] ** 2))
    mean = decoded(data["mean"]) * data["meanUnit"]
    if k == len(data["classes"]):
        lam = np.array(data["eigenvalues"])
        return Gaussian(mean, lam, basis[: lam.size])
    one = data["classes"][k]
    axes = orthonormal(decoded(one["axes"], len(basis)))
    return Gaussian(
        mean + one["unit"] * decoded(one["centre"]) @ basis, one["eigenvalues"], axes @ basis
    )


def flow_pictures(model, noise, sigma, high):
    """State and best guess of the exact flow: the square root of a ratio of covariances."""
    y = high * noise
    inside = y @ model.basis.T
    lam = model.eigenvalues
    gains = np.sqrt((lam + sigma**2) / (lam + high**2))
    rest = y - inside @ model.basis
    state = model.mean + (gains * inside) @ model.basis + sigma / high * rest
    return state, LinearDenoiser(model)(state[None], sigma)[0]


def digits(call, rng):
    """Pictures of the first page, for each of its models, from the noise of the script."""
    from laboratories import digits as made

    data = made()
    for k in range(11):
        sigma, seed = float(np.exp(rng.uniform(-4, 3))), int(rng.integers(10**6))
        found = call(
            "(() => { const model = lindiff.digitModels(it.data)(it.k);"
            " const noise = new lindiff.Random(it.seed).normals(784);"
            " const out = lindiff.flow(model, lindiff.split(model, noise), it.sigma, 20);"
            " return { noise: [...noise], state: [...out.state], guess: [...out.guess] }; })()",
            {"data": data, "k": k, "seed": seed, "sigma": sigma},
        )
        state, guess = flow_pictures(digit_model(data, k), np.array(found["noise"]), sigma, 20.0)
        np.testing.assert_allclose(found["state"], state, rtol=0, atol=ROUNDING)
        np.testing.assert_allclose(found["guess"], guess, rtol=0, atol=ROUNDING)


def spike_limits(call, rng):
    """The laws of the spike laboratory, above and below the threshold."""
    for _ in range(50):
        spike, sigma, gamma = rng.lognormal(0, 1.5, 3).tolist()
        found = call(
            "{ value: lindiff.eigenvalueLimit(...it), seen: lindiff.alignmentLimit(...it),"
            " emergence: lindiff.emergenceSigma(it[0], it[2]) }",
            [spike, sigma, gamma],
        )
        close(found["value"], eigenvalue_limit(spike, sigma, gamma))
        close(found["seen"] + 1, alignment_limit(spike, sigma, gamma) + 1)
        close(found["emergence"], emergence_sigma(spike, gamma))


def top_pairs(call, rng):
    """Eigenvalue and alignment from given diagonals, against the package's own solver."""
    for size in [(1, 5), (2, 1), (3, 3), (7, 30), (40, 9), (200, 300), (600, 600), (900, 400)]:
        d, n = size
        rows, scale = min(size), float(np.sqrt(1 + rng.lognormal(0, 1)))
        band = np.ones((2, rows))
        band[0] = np.sqrt(rng.chisquare(n - np.arange(rows)))
        beside = min(rows, d - 1)
        band[1, :beside] = np.sqrt(rng.chisquare(d - 1 - np.arange(beside)))
        values, vectors = _top_of_gram(band, np.array([scale]), d)
        found = call(
            "lindiff.topPair(it, it.scale)",
            {"diagonal": band[0].tolist(), "above": band[1, :beside].tolist(), "scale": scale},
        )
        close(found["value"], values[0])
        close(found["squaredCosine"] + 1, vectors[0, 0] ** 2 + 1)


DRAWS = 800


def draws(call, rng):
    """Draws of the script have the law of the package's draws: means, and the whole law."""
    for dim, samples, spike, sigma in [(9, 5, 1.0, 0.7), (60, 90, 2.0, 1.0), (40, 4, 3.0, 0.5)]:
        it = {"size": DRAWS, "setting": [dim, samples, spike, sigma], "seed": 7}
        found = call(
            "(() => { const random = new lindiff.Random(it.seed);"
            " return Array.from({ length: it.size },"
            " () => lindiff.drawAlignment(...it.setting, random)); })()",
            it,
        )
        expected = draw_alignment(dim, samples, spike, sigma, DRAWS, rng=rng)
        for name, package in (
            ("eigenvalue", expected.eigenvalues[:, 0]),
            ("squaredCosine", expected.squared_cosines[:, 0, 0]),
        ):
            script = [one[name] for one in found]
            # one in 10^5 for each of six comparisons
            assert stats.ks_2samp(script, package).pvalue > 1e-5, (name, dim, samples)


def diagonals(call, rng):
    """Each entry of the two diagonals has its own degrees of freedom: means of the squares."""
    for dim, samples in [(5, 4), (3, 6), (4, 4)]:
        found = call(
            "(() => { const random = new lindiff.Random(11); return Array.from({ length: 4000 },"
            " () => lindiff.bidiagonal(...it, random)); })()",
            [dim, samples],
        )
        count = min(dim, samples)
        for name, degrees in (
            ("diagonal", samples - np.arange(count)),
            ("above", dim - 1 - np.arange(min(count, dim - 1))),
        ):
            squares = np.array([one[name] for one in found]) ** 2
            error = np.sqrt(2 * degrees / len(squares))  # the variance of chi squared
            assert squares.shape[1:] == degrees.shape
            assert (abs(squares.mean(axis=0) - degrees) < 4.5 * error).all(), (name, degrees)


def random_numbers(call, rng):
    """Normal, chi and uniform numbers have their laws, and a seed repeats them."""
    source = (
        "(() => { const random = new lindiff.Random(it.seed);"
        " return { uniform: Array.from({ length: 20000 }, () => random.uniform()),"
        " normal: [...random.normals(20000)],"
        " five: Array.from({ length: 20000 }, () => random.chi(5)),"
        " one: Array.from({ length: 20000 }, () => random.chi(1)) }; })()"
    )
    found = call(source, {"seed": 3})
    for name, cdf in (
        ("uniform", stats.uniform.cdf),
        ("normal", stats.norm.cdf),
        ("five", stats.chi(5).cdf),
        ("one", stats.chi(1).cdf),
    ):
        assert stats.kstest(found[name], cdf).pvalue > 1e-5, name
    lagged = np.corrcoef(found["normal"][1:], found["normal"][:-1])[0, 1]
    assert abs(lagged) < 4.5 / np.sqrt(20000), lagged
    assert call(source, {"seed": 3}) == found
    assert call(source, {"seed": 4})["normal"] != found["normal"]


def directions(call, rng):
    """The picture of an estimate has length one and the drawn angle, and no other preference."""
    for dim in (1, 2, 784):
        u = rng.standard_normal(dim)
        u /= np.linalg.norm(u)
        square = 1.0 if dim == 1 else float(rng.uniform())
        out = np.array(
            call(
                "[...lindiff.direction(Float64Array.from(it.u), it.square, new lindiff.Random(5))]",
                {"u": u.tolist(), "square": square},
            )
        )
        close([out @ out, (out @ u) ** 2], [1, square])


def bulk(call, rng):
    """The law of Marchenko and Pastur has mass min(1, 1/gamma) and mean sigma squared."""
    for gamma in (0.2, 0.9, 3.0):
        sigma = float(rng.uniform(0.5, 2))
        low, high = sigma**2 * (1 - gamma**0.5) ** 2, sigma**2 * (1 + gamma**0.5) ** 2
        angle = np.linspace(0, np.pi, 4001)  # the ends of the density are square roots
        value = (low + high) / 2 - (high - low) / 2 * np.cos(angle)
        density = np.array(
            call("it.value.map((v) => lindiff.bulk(v, it.sigma, it.gamma))",
                 {"value": value.tolist(), "sigma": sigma, "gamma": gamma})
        )  # fmt: skip
        weight = density * (high - low) / 2 * np.sin(angle)
        assert abs(integrate.trapezoid(weight, angle) - min(1, 1 / gamma)) < 1e-6
        assert abs(integrate.trapezoid(weight * value, angle) - sigma**2) < 1e-6


def claims_of_the_page(call, rng):
    """What `laboratory-samplers.md` says in numbers."""
    base = {
        "modes": 64, "high": HIGH, "low": LOW, "slope": 2.0, "steps": 10, "weight": 1.0,
        "schedule": "geometric", "rule": "ddim", "eta": 1.0,
    }  # fmt: skip

    def shares(**changes):
        found = call("lindiff.samplerLaboratory(it)", base | changes)
        return np.array(found["variance"]) / np.array(found["conditional"]), found

    for slope in (0.5, 1.0, 2.0, 2.5):  # ten steps leave about 53 per cent
        ratio, _ = shares(slope=slope)
        assert abs(ratio - 0.53).max() < 0.01, (slope, ratio.min(), ratio.max())
    repaired, _ = shares(rule="rescaled")
    assert abs(repaired - 1).max() < 0.01, repaired
    assert abs(shares(rule="rescaled", schedule="karras")[0] - 1).max() > 0.2
    uniform, _ = shares(steps=20, schedule="uniform")
    assert uniform[20:].max() < 0.02 < shares(steps=20)[0].min()
    for steps in (2, 200):
        found = shares(rule="ancestral", steps=steps)[1]
        assert found["distance"] < 0.001, (steps, found["distance"])
    one, exact = shares(steps=1)[1]["clock"][6], shares()[1]["flowClock"][6]
    assert abs(one - 1) < 0.001 and abs(exact - 0.5) < 0.001
    guided = shares(weight=2.0, rule="heun", steps=100)[1]
    close_to = np.array(guided["variance"]) / np.array(guided["flow"])
    assert abs(close_to[:32] - 1).max() < 0.1, close_to
    noisy = shares(weight=2.0, rule="eta", steps=200)[1]
    for law_name, low in (("flow", 1.5), ("tilted", 0.0)):
        ratio = np.array(noisy["variance"])[7] / np.array(noisy[law_name])[7]
        assert abs(ratio - 1) > 0.2 and ratio > low, (law_name, ratio)


COMPARISONS = (
    samplers, laws, digits, spike_limits, top_pairs, draws, diagonals, random_numbers, directions,
    bulk, claims_of_the_page,
)  # fmt: skip
