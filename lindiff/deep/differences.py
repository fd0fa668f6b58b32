"""Products with the Jacobian of any denoiser, also one that torch cannot differentiate."""

from lindiff import _check
from lindiff.deep import _graph

torch = _check.optional("torch", "deep")


def finite_difference(denoiser, y, sigma, v, *, step=None, chunk=16):
    r"""Approximate :math:`Jv` by :math:`\frac{D(y+hv)-D(y-hv)}{2h}`, for any denoiser.

    Two calls a vector, and no derivative; but no product with the transpose either, and with
    float32 about three digits. Where it can be had,
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

    Raises
    ------
    ValueError
        If an argument does not fit, or the denoiser is in training mode or not finite.

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
