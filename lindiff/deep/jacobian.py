r"""Jacobians of denoisers without the matrix: products, singular vectors, trace, asymmetry.

For the best denoiser :math:`J = \partial_y D_\sigma(y) = \mathrm{Cov}[x|y]/\sigma^2` is symmetric
and positive semi-definite [Miyasawa 1961]. A network's is neither, so both :math:`J` and
:math:`J^\top` are needed. One graph of one image gives :math:`J^\top v` by a backward pass; that
is linear in v, and a backward pass through it is its adjoint, :math:`Jv`, exact as well.
"""

from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import scipy.sparse.linalg
import torch

from lindiff import _check, _krylov
from lindiff.deep import _graph, _memory
from lindiff.power import Eigenpairs, SingularTriplets, _eigenpairs, _singular_triplets
from lindiff.types import Denoiser, Rng

_Graph: TypeAlias = tuple[torch.Tensor, torch.Tensor]


class Estimate(NamedTuple):
    """A number and its standard error, which is 0 for one computed exactly."""

    value: float
    standard_error: float


class Jacobian:
    r"""Jacobian of a denoiser at one image, as an operator.

    Products are :math:`Jv` by :meth:`jv` (torch calls it a jvp) and :math:`J^\top v` by :meth:`vj`
    (a vjp). A network's J is not symmetric: :meth:`svd` decomposes J itself, :meth:`eigh` its
    symmetric part, and :meth:`asymmetry` tells how much that leaves out.

    It describes the denoiser at the moment it is made; after a change of the weights, make another.
    The denoiser is not touched: no gradient is stored in it, no mode or buffer of it changes.

    Parameters
    ----------
    denoiser : callable
        ``denoiser(y, sigma)``, differentiable by torch, on batches; it is called with a batch of
        one, and `sigma` is a Python float. For a network that wants a tensor (n,) pass
        ``lambda y, sigma: network(y, torch.full((len(y),), sigma).to(y))``. Networks must be in
        evaluation mode, without gradient checkpointing.
    y : torch.Tensor, shape (\*shape)
        One image, such as (c, h, w), or one vector (d,), without a batch dimension; float32 or
        float64.
    sigma : float
        Noise standard deviation, positive.
    chunk : int
        Vectors per pass; bounds memory. Where a backward pass cannot take several at a time, they
        go one by one.
    check : bool
        Whether to compare the graph with central differences, at the price of some calls of the
        denoiser: a graph that a ``.detach()`` inside has cut gives wrong products silently. A cut
        is found if it changes products by more than some 5 %: here those with the transpose along
        one vector, and before the first product with J all numbers of another.

    Attributes
    ----------
    denoised : torch.Tensor, shape (\*shape)
        ``denoiser(y, sigma)``.
    dim : int
        Number of pixels d.

    Raises
    ------
    ValueError
        If an argument does not fit, or the denoiser is random, in training mode, not
        differentiable (the message then names
        :func:`~lindiff.deep.jacobian.finite_difference`) or not finite.

    Examples
    --------
    >>> import torch
    >>> jacobian = Jacobian(lambda y, sigma: y**2 / 2, torch.tensor([1.0, 3.0, 2.0]), sigma=0.5)
    >>> jacobian.jv(torch.tensor([1.0, 1.0, 0.0]))
    tensor([1., 3., 0.])
    >>> jacobian.svd(2, rng=0).singular_values.round(4)
    array([3., 2.])
    """

    def __init__(
        self,
        denoiser: Denoiser,
        y: torch.Tensor,
        sigma: float,
        *,
        chunk: int = 16,
        check: bool = True,
    ) -> None:
        self._y = _graph.image(y)
        self._chunk = _check.integer("chunk", chunk, 1)
        sigma = _check.number("sigma", sigma, 0.0, open_low=True)
        self._graph, self._pair, self._weights = _graph.trace(denoiser, self._y, sigma, check)
        self.denoised, self.dim = self._graph[1][0].detach(), self._y.numel()
        around = denoiser, self._y, sigma, self.denoised
        self._differences = _graph.differences(*around) if check else None

    @cached_property
    def _adjoint(self) -> _Graph:
        """A cotangent, and the graph of the backward pass, which is linear in it."""
        leaf, out = self._graph
        with torch.inference_mode(False), torch.enable_grad():
            cotangent = torch.zeros_like(out, requires_grad=True)
            (pulled,) = torch.autograd.grad(out, leaf, cotangent, create_graph=True)
            # Adding nothing keeps the two connected where the derivative is a constant zero.
            graph = cotangent, pulled + 0 * cotangent
        # Where the denoiser has a backward pass of its own, torch may lose it silently.
        u, w = self._pair
        if abs((u * self._blocks(graph, w)).sum() - (w * w).sum()) > 1e-2 * (w * w).sum():
            raise ValueError(f"the denoiser has no second derivative in torch; {_graph.OFFER}")
        if self._differences:
            product = self._blocks(graph, self._differences.w)
            _graph.require_same(product, self._differences)
        return graph

    def _blocks(self, graph: _Graph, v: Any) -> Any:
        """Backward passes through a graph (input, output), a chunk of vectors at a time."""
        into, out = graph
        v, back = _graph.batch(v, self._y)

        def once(u: torch.Tensor) -> torch.Tensor:
            return torch.autograd.grad(out, into, u[None], retain_graph=True)[0][0]

        def several(part: torch.Tensor) -> torch.Tensor:
            if len(part) > 1 and self._chunk > 1:  # a plain pass is cheaper for one
                try:
                    return torch.func.vmap(once)(part)
                except RuntimeError:  # some backward passes take one vector only
                    self._chunk = 1
            return torch.stack([once(u) for u in part])

        with _graph.offering_finite_differences():
            done = [several(part) for part in v.split(self._chunk)]
        result = torch.cat(done)
        if not bool(result.isfinite().all()):
            raise ValueError("a product with the Jacobian is not finite: the derivative is not")
        return back(result)

    def jv(self, v: Any) -> Any:
        r"""Products :math:`Jv`, exact; torch calls them Jacobian-vector products, jvp.

        Parameters
        ----------
        v : torch.Tensor or array_like, shape (\*shape) or (k, \*shape), or rows (d,) or (k, d)
            Vectors; rows of length d are read as flattened images.

        Returns
        -------
        torch.Tensor or ndarray
            Of the same shape; float64 NumPy if `v` is not a tensor.

        Raises
        ------
        ValueError
            If a shape does not fit, a value is not finite, or the denoiser has no second
            derivative.
        """
        with _graph.offering_finite_differences():
            graph = self._adjoint
        return self._blocks(graph, v)

    def vj(self, v: Any) -> Any:
        r"""Products :math:`J^\top v`, or vjp; half the cost of :meth:`jv`, same form and errors."""
        return self._blocks(self._graph, v)

    def symmetric(self, v: Any) -> Any:
        r"""Products :math:`\frac12(J+J^\top)v`, same form and errors as :meth:`jv`."""
        return (self.jv(v) + self.vj(v)) / 2

    def _plan(
        self, k: int, tol: float, block: int | None, max_products: int | None, rng: Rng
    ) -> _krylov.Plan:
        """Check what both decompositions take; the budget becomes one of pairs of products."""
        k, tol = _check.integer("k", k, 1, self.dim), _check.number("tol", tol, 0.0)
        if block is None:
            # A block needs more products, which pays only where each costs far less in it.
            block = min(k + 1, 4, self.dim) if k > 1 and self.dim <= 1024 else 1
        if max_products is None:
            max_products = 2 * self.dim
        block = _check.integer("block", block, 1, self.dim)
        budget = _check.integer("max_products", max_products, 2 * k) // 2
        patience = 0.0 if block > 1 else 0.1 if k == 1 else 0.2
        draws = _check.generator(rng)
        return _krylov.Plan(self.dim, k, block, tol, budget, draws, patience, _krylov.ROUNDING)

    def svd(
        self,
        k: int,
        *,
        tol: float = 1e-3,
        block: int | None = None,
        max_products: int | None = None,
        rng: Rng = None,
    ) -> SingularTriplets:
        r"""Leading singular triplets by block Krylov on :math:`J^\top J`.

        Singular values of denoisers cluster near 1. There power iteration stalls, for its error
        falls with the gap; that of a Krylov space falls with the root of the gap.

        Parameters
        ----------
        k : int
            Number of triplets.
        tol : float
            Stop when all residuals, relative to the largest value, are at most this; a value is
            then right to about tol squared. A RuntimeWarning tells when the budget or rounding
            does not allow it. Rounding allows about 1e-6 in float32, and less with half precision
            inside the denoiser or with TF32, which convolutions on GPUs use unless
            ``torch.backends.cudnn.allow_tf32`` is False. With 0 the residuals get as small as the
            budget and rounding allow, and nothing warns.
        block : int, optional
            Vectors multiplied at a time, by default 1, or up to 4 for several triplets of a small
            image. One needs the fewest products, but finds only one vector of a value that is
            exactly repeated, as at a symmetric image: take the multiplicity there. With one, the
            tolerance must hold over the last fifth of the products, or tenth for one triplet, lest
            a close value be missed.
        max_products : int, optional
            Budget of products with J or its transpose, at least 2k; by default that of the whole
            space. Residuals of values that are nearly zero cost a product each beyond it.
        rng : numpy.random.Generator, int or None
            For the starting block.

        Returns
        -------
        SingularTriplets
        """
        return _singular_triplets(self.jv, self.vj, self._plan(k, tol, block, max_products, rng))

    def eigh(
        self,
        k: int,
        *,
        tol: float = 1e-3,
        block: int | None = None,
        max_products: int | None = None,
        rng: Rng = None,
    ) -> Eigenpairs:
        r"""Leading eigenpairs of the symmetric part :math:`\frac12(J+J^\top)`, not of J.

        J is symmetrised whether or not it is nearly symmetric; see :meth:`asymmetry`. Parameters,
        errors and method as for :meth:`svd`; residuals are those of the symmetric part.

        Returns
        -------
        lindiff.power.Eigenpairs
            Float64 NumPy arrays; `products` counts those with J and with its transpose.
        """
        pairs = _eigenpairs(self.symmetric, self._plan(k, tol, block, max_products, rng))
        return pairs._replace(products=2 * pairs.products)

    def _probes(self, n_probes: int, rng: Rng) -> np.ndarray:
        """Rows of random signs."""
        n_probes = _check.integer("n_probes", n_probes, 2)
        return _check.generator(rng).choice([-1.0, 1.0], size=(n_probes, self.dim))

    def trace(self, n_probes: int | None = None, *, rng: Rng = None) -> Estimate:
        r"""Trace of J: exact from d products, or Hutchinson's mean of :math:`z^\top J^\top z`.

        Parameters
        ----------
        n_probes : int, optional
            Number of random sign vectors z, at least 2; without it the trace is exact.
        rng : numpy.random.Generator, int or None
            For the probes.

        Returns
        -------
        Estimate
        """
        if n_probes is None:
            return Estimate(float(np.trace(self.dense())), 0.0)
        probes = self._probes(n_probes, rng)
        terms = (probes * self.vj(probes)).sum(axis=1)
        return Estimate(float(terms.mean()), float(terms.std(ddof=1) / np.sqrt(terms.size)))

    def asymmetry(self, n_probes: int | None = None, *, rng: Rng = None) -> Estimate:
        r"""Asymmetry :math:`\|J-J^\top\|_F/\|J\|_F`: 0 if symmetric, 2 if antisymmetric.

        A matrix of independent entries has :math:`\sqrt2`. Exact from d products, or from the
        ratio of :math:`|Jz-J^\top z|^2` and :math:`|Jz|^2` over random signs z; the standard
        error is then that of the delta method, and the value of a zero Jacobian is nan.

        Parameters, result and errors as for :meth:`trace`.
        """
        if n_probes is None:
            j = self.dense()
            size = np.linalg.norm(j)
            return Estimate(float(np.linalg.norm(j - j.T) / size) if size else np.nan, 0.0)
        probes = self._probes(n_probes, rng)
        forward, backward = self.jv(probes), self.vj(probes)
        skew = ((forward - backward) ** 2).sum(axis=1)
        size = ((forward**2).sum(axis=1) + (backward**2).sum(axis=1)) / 2
        if not size.any():
            return Estimate(np.nan, np.nan)
        square = skew.mean() / size.mean()
        error = (skew - square * size).std(ddof=1) / np.sqrt(skew.size) / size.mean()
        return Estimate(
            float(np.sqrt(square)), float(error / (2 * np.sqrt(square)) if square else 0)
        )

    def memory(self) -> _memory.Memory:
        """Bytes that products need, counted in torch's graphs before the first of many is made.

        Both graphs are built first: that of the denoiser with the Jacobian, that of its backward
        pass, with one product to test it, by this call. So it tells what many products will need,
        not whether the graphs fit. Where they may not, ask at a smaller image: without attention
        all three numbers are nearly proportional to the number of pixels.

        A decomposition needs about ``adjoint + chunk * vector`` besides the weights. What single
        operations allocate in passing comes on top: a third to two thirds of `vector` in the
        networks of this package and of diffusers; more where vectors go one by one, or where a
        convolution unfolds its image first, as it does in float64 on a CPU.

        Returns
        -------
        Memory
            ``graph`` is kept for :meth:`vj` from the start, ``adjoint`` (with `graph`) for
            :meth:`jv`, after one backward pass, which this makes; ``vector`` is needed for each
            vector of a chunk while a product is computed.

        Examples
        --------
        >>> Jacobian(lambda y, sigma: y.sin().tanh(), torch.ones(1000), 0.5).memory().graph
        8000
        """
        (leaf, out), (cotangent, pulled) = self._graph, self._adjoint
        vector = max(_memory.held(out, leaf), _memory.held(pulled, cotangent))
        graph, adjoint = (_memory.kept(o, self._weights) for o in ([out], [out, pulled]))
        return _memory.Memory(graph, adjoint, vector)

    def dense(self) -> np.ndarray:
        """The whole matrix J, ndarray (d, d) of float64, from d products with the transpose."""
        return self.vj(np.eye(self.dim))

    def linear_operator(self) -> scipy.sparse.linalg.LinearOperator:
        """J as a SciPy ``LinearOperator`` on flattened images, float64."""
        return scipy.sparse.linalg.LinearOperator(
            (self.dim, self.dim),
            dtype=np.float64,
            matvec=lambda v: self.jv(v.ravel()),
            rmatvec=lambda v: self.vj(v.ravel()),
            matmat=lambda v: self.jv(v.T).T,
            rmatmat=lambda v: self.vj(v.T).T,
        )


def finite_difference(
    denoiser: Denoiser,
    y: torch.Tensor,
    sigma: float,
    v: Any,
    *,
    step: float | None = None,
    chunk: int = 16,
) -> Any:
    r"""Approximate :math:`Jv` by :math:`\frac{D(y+hv)-D(y-hv)}{2h}`, for any denoiser.

    Two calls a vector, and no derivative; but no product with the transpose either, and with
    float32 about three digits. Where it is available,
    :class:`~lindiff.deep.jacobian.Jacobian` is exact.

    Parameters
    ----------
    denoiser, y, sigma, chunk
        As for :class:`~lindiff.deep.jacobian.Jacobian`; but the denoiser is called with batches
        of up to `chunk` points.
    v : torch.Tensor or array_like
        As for :meth:`~lindiff.deep.jacobian.Jacobian.jv`.
    step : float, optional
        Distance :math:`|hv|` of both points from `y`. By default
        :math:`(\epsilon\,|y|\,\sigma^2)^{1/3}` with :math:`\epsilon` the spacing of numbers: it
        balances rounding, :math:`\epsilon|y|/|hv|`, and curvature, :math:`(|hv|/\sigma)^2`.

    Returns
    -------
    torch.Tensor or ndarray
        Of the shape of `v`.

    Examples
    --------
    >>> import torch
    >>> v = torch.tensor([1.0, 1.0], dtype=torch.float64)
    >>> y = torch.tensor([1.0, 2.0], dtype=torch.float64)
    >>> finite_difference(lambda y, sigma: y.detach() ** 3, y, 1.0, v).numpy().round(6)
    array([ 3., 12.])
    """
    y, chunk = _graph.image(y), _check.integer("chunk", chunk, 1)
    sigma = _check.number("sigma", sigma, 0.0, open_low=True)
    v, back = _graph.batch(v, y)
    if step is None:
        step = _graph.step_length(y, sigma)
    step = _check.number("step", step, 0.0, open_low=True)
    length = v.flatten(1).norm(dim=1).reshape(-1, *[1] * y.ndim)
    length = torch.where(length > 0, length, 1)
    shift = v * (step / length)
    reached = (y + shift) - (y - shift)
    if bool(
        ((reached - 2 * shift).flatten(1).norm(dim=1) > 0.2 * shift.flatten(1).norm(dim=1)).any()
    ):
        raise ValueError(
            f"step is {step:.3g}, which {y.dtype} cannot resolve beside a y of length "
            f"{float(y.norm()):.3g}; expected a larger one, or float64"
        )
    with torch.no_grad():
        ends = [
            torch.cat([_graph.call(denoiser, part, sigma) for part in (y + s).split(chunk)])
            for s in (shift, -shift)
        ]
    return back((ends[0] - ends[1]) * (length / (2 * step)))
