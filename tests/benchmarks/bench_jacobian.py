"""How much time the matrix-free Jacobian saves, against named peers on the same singular vectors.

The peers are what one would write without it: the whole Jacobian and its SVD, power iteration by a
loop of ``jvp``, finite differences, SciPy's and LOBPCG's solvers on an operator. Beside the time of
each stands what it reached: the largest residual ``|J.T u - s v| / s_1`` of the right vectors v
that it returns. The solvers that reach any residual, SciPy's ``svds`` and PRIMME's where that is
installed, are compared on the same products at equal residuals.

Part of `make bench`; the rules are those of ``bench_lindiff.py``.
"""

import importlib.util
import time
import warnings

import numpy as np
import pytest
import scipy.sparse.linalg
import torch
from bench_lindiff import compare

from lindiff.data import mnist, patches
from lindiff.deep.checkpoints import load
from lindiff.deep.jacobian import Jacobian, finite_difference

SIGMA, TOL = 0.5, 1e-3
# the first use of torch.func.jvp
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Problem:
    """A shipped network at one noisy image, with what the peers need."""

    def __init__(self, name, clean):
        rng = np.random.default_rng(0)
        y = clean + SIGMA * rng.standard_normal(clean.shape)
        self.network, self.y = load(name), torch.tensor(y, dtype=torch.float32)
        self.dim, self.rng = self.y.numel(), rng

    def denoise(self, y):
        """The network on one image."""
        return self.network(y[None], SIGMA)[0]

    def ours(self, k):
        """Right singular vectors; the graph is built again, as in a fresh call."""
        return Jacobian(self.network, self.y, SIGMA).svd(k, tol=TOL, rng=self.rng).right

    def residual(self, right):
        """What rows of right vectors are worth, after the best rotation among them."""
        jacobian = Jacobian(self.network, self.y, SIGMA)
        turn, values, left = np.linalg.svd(jacobian.jv(right), full_matrices=False)
        back = jacobian.vj(left) - values[:, None] * (turn.T @ right)
        return np.linalg.norm(back, axis=1).max() / values[0]

    def rows(self, count):
        """Rows of the whole Jacobian by torch.func: jacrev, of the first `count` outputs."""

        def first(y):
            return self.denoise(y).flatten()[:count]

        return torch.func.jacrev(first, chunk_size=64)(self.y).reshape(count, -1).detach().numpy()

    def dense(self, k):
        """The whole Jacobian and its SVD in float32."""
        return np.linalg.svd(self.rows(self.dim))[2][:k]

    def pair(self, v):
        """J.T J v, one vector at a time, by torch.func: jvp and vjp at every product."""
        v = torch.as_tensor(v, dtype=torch.float32).reshape(self.y.shape)
        _, image = torch.func.jvp(self.denoise, (self.y,), (v,))
        _, pull = torch.func.vjp(self.denoise, self.y)
        return pull(image.detach())[0].detach().flatten().numpy()

    def power(self, start, steps):
        """Subspace iteration on J.T J from rows `start`, by a loop over vectors."""
        for _ in range(steps):
            start = np.linalg.qr(np.stack([self.pair(v) for v in start]).T)[0].T
        return start

    def power_steps(self, k, gram):
        """How many such steps the tolerance needs, told by the whole matrix; at most 2,000."""
        v, target = np.linalg.qr(self.rng.standard_normal((self.dim, k)))[0], TOL
        for step in range(1, 2001):
            v = np.linalg.qr(gram @ v)[0]
            if step % 5 == 0:
                image = gram @ v
                values, turn = np.linalg.eigh(v.T @ image)
                gaps = np.linalg.norm((image - v @ (v.T @ image)) @ turn, axis=0)
                if (gaps <= target * np.sqrt(values[-1] * np.maximum(values, 1e-12))).all():
                    break
        return step

    def differences(self, k, steps=50):
        """Subspace iteration on J itself by finite differences, as there is no transpose."""
        v = np.linalg.qr(self.rng.standard_normal((self.dim, k)))[0].T
        for _ in range(steps):
            v = np.linalg.qr(finite_difference(self.network, self.y, SIGMA, v).T)[0].T
        return v

    def svds(self, k, operator):
        """SciPy svds, which goes beyond our tolerance whatever it is asked for."""
        return scipy.sparse.linalg.svds(operator, k, tol=TOL, rng=self.rng)[2][::-1]

    def loops(self):
        """J as an operator of torch.func: jvp at every product, and vjp once."""
        _, pull = torch.func.vjp(self.denoise, self.y)

        def image(v):
            return torch.as_tensor(v.ravel(), dtype=torch.float32).reshape(self.y.shape)

        def forward(v):
            out = torch.func.jvp(self.denoise, (self.y,), (image(v),))[1]
            return out.detach().flatten().numpy()

        return scipy.sparse.linalg.LinearOperator(
            (self.dim, self.dim),
            matvec=forward,
            rmatvec=lambda v: pull(image(v))[0].detach().flatten().numpy(),
            dtype=np.float32,
        )

    def lobpcg(self, k):
        """SciPy LOBPCG on J.T J, with our products and so with blocks, to the same tolerance."""
        jacobian = Jacobian(self.network, self.y, SIGMA)
        start = self.rng.standard_normal((self.dim, k))
        first = np.linalg.norm(jacobian.jv(self.ours(1)[0])) ** 2
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns where it stops short of its tolerance
            return scipy.sparse.linalg.lobpcg(
                lambda v: jacobian.vj(jacobian.jv(v.T)).T, start, tol=TOL * first, maxiter=200
            )[1].T


@pytest.fixture(scope="module")
def digit():
    return Problem("mnist", mnist()[0][-1].reshape(1, 28, 28))


@pytest.fixture(scope="module")
def photograph():
    return Problem(
        "photographs", patches(64, 1, rng=np.random.default_rng(3), split="test").reshape(1, 64, 64)
    )


def reached(problem, name, right):
    """The name of a way with what it reached."""
    return f"{name}: residual {problem.residual(right):.0e}"


def solvers(problem, k):
    """The peers that both tests share."""
    ways = {
        "SciPy svds on jvp and vjp": lambda: problem.svds(k, problem.loops()),
        "SciPy lobpcg on our products": lambda: problem.lobpcg(k),
    }
    some = {
        reached(problem, "finite differences, 50 steps on J", problem.differences(k)): (
            lambda: problem.differences(k, 5),
            0.1,
        )
    }
    return some | {reached(problem, name, way()): (way, 1) for name, way in ways.items()}


@pytest.mark.parametrize("k", [1, 5, 20])
def test_singular_vectors_of_a_digit(benchmark, digit, k):
    dense = digit.dense(k)
    mine = digit.ours(k)
    # the same subspace: cosines within what the tolerance allows over the gap behind it
    assert np.linalg.svd(mine @ dense.T, compute_uv=False).min() > 0.95
    j = digit.rows(784).astype(float)
    steps = digit.power_steps(k, j.T @ j)
    few = max(1, round(4 / k))
    start = np.linalg.qr(digit.rng.standard_normal((784, k)))[0].T
    compare(
        benchmark,
        reached(digit, f"top {k} singular vectors of J at a digit, d = 784", mine),
        lambda: digit.ours(k),
        {
            reached(digit, "jacrev and NumPy svd", dense): (lambda: digit.dense(k), 1),
            f"power iteration by a loop of jvp, to the tolerance ({steps} steps)": (
                lambda: digit.power(start, few),
                few / steps,
            ),
        }
        | solvers(digit, k),
    )


def test_singular_vectors_of_a_photograph(benchmark, photograph):
    k, mine, dense = 5, photograph.ours(5), []
    compare(
        benchmark,
        reached(photograph, "top 5 singular vectors of J at a photograph, d = 4,096", mine),
        lambda: photograph.ours(k),
        {"jacrev and NumPy svd": (lambda: dense.append(photograph.dense(k)), 1)}
        | solvers(photograph, k),
        rounds=2,
    )
    assert np.linalg.svd(mine @ dense[0].T, compute_uv=False).min() > 0.95


ASKED = 10.0 ** np.arange(-0.5, -7.1, -0.5)
REACHED = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)


def any_residual(k):
    """Solvers of the same operator: functions ``(jacobian, tol, seed)`` to right vectors."""

    def ours(jacobian, tol, seed):
        return jacobian.svd(k, tol=tol, rng=seed).right

    def svds(jacobian, tol, seed):
        operator = jacobian.linear_operator()
        return scipy.sparse.linalg.svds(operator, k, tol=tol, rng=seed)[2][::-1]

    def eigsh(jacobian, tol, seed):
        start = np.random.default_rng(seed).standard_normal(jacobian.dim)
        operator = jacobian.linear_operator()
        return scipy.sparse.linalg.eigsh(operator.T @ operator, k, tol=tol, v0=start)[1].T

    def primme(jacobian, tol, seed):
        import primme  # not a dependency: its build needs BLAS and LAPACK

        return primme.svds(jacobian.linear_operator(), k, tol=tol)[2]

    ways = {"ours": ours, "SciPy svds": svds, "SciPy eigsh on J.T J": eigsh}
    return ways | ({"PRIMME svds": primme} if importlib.util.find_spec("primme") else {})


def fastest(problem, k, rounds):
    """CPU seconds of the fastest run of each solver to each residual, whatever it was asked for.

    Every round has its own start, and the solvers take turns. The graph is not timed: all share it.
    """
    jacobian = Jacobian(problem.network, problem.y, SIGMA)
    jacobian.jv(np.ones(jacobian.dim))
    seconds = {way: np.full((rounds, len(REACHED)), np.inf) for way in any_residual(k)}
    for seed in range(rounds):
        for tol in ASKED:
            for way, solve in any_residual(k).items():
                if np.isfinite(seconds[way][seed, -1]):
                    continue  # there already
                start = time.process_time()
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # ours warns where it cannot go on
                    right = solve(jacobian, tol, seed)
                spent, there = time.process_time() - start, problem.residual(right) <= REACHED
                seconds[way][seed, there] = np.minimum(seconds[way][seed, there], spent)
    return {way: np.median(runs, axis=0) for way, runs in seconds.items()}


@pytest.mark.parametrize(
    ("name", "k", "rounds"),
    [
        ("digit", 1, 5),
        ("digit", 5, 5),
        ("digit", 20, 3),
        ("photograph", 1, 3),
        ("photograph", 5, 3),
    ],
)
def test_singular_vectors_at_equal_residuals(benchmark, request, name, k, rounds):
    problem = request.getfixturevalue(name)
    seconds = benchmark.pedantic(lambda: fastest(problem, k, rounds), rounds=1)
    ours = seconds.pop("ours")
    benchmark.extra_info.update(
        work=f"top {k} singular vectors of J at a {name}, d = {problem.dim:,}",
        residuals=REACHED,
        ratios={
            way: [float(ratio) if np.isfinite(ratio) else None for ratio in times / ours]
            for way, times in seconds.items()
        },
    )


@pytest.mark.parametrize(
    ("name", "block"), [("digit", 4), ("digit", 16), ("photograph", 2), ("photograph", 16)]
)
def test_products_in_forward_passes(benchmark, request, name, block):
    problem = request.getfixturevalue(name)
    jacobian = Jacobian(problem.network, problem.y, SIGMA)
    v = torch.randn(block, *problem.y.shape, generator=torch.Generator().manual_seed(0))
    clocks = {"forward": [], "jv": [], "vj": []}

    def once(name, call, vectors):
        start = time.perf_counter()
        call()
        clocks[name].append((time.perf_counter() - start) / vectors)

    def all_three():
        with torch.no_grad():
            once("forward", lambda: problem.denoise(problem.y), 1)
        once("jv", lambda: jacobian.jv(v), block)
        once("vj", lambda: jacobian.vj(v), block)

    benchmark.pedantic(all_three, rounds=15, warmup_rounds=2)
    one, ahead, back = (np.median(clocks[key][2:]) for key in ("forward", "jv", "vj"))
    benchmark.extra_info.update(
        work=f"products with J and its transpose, {block} vectors at once, d = {problem.dim:,}",
        note=f"J v costs {ahead / one:.1f} forward passes, J.T v {back / one:.1f}",
    )
