"""Jacobians of denoisers, every tool against the dense Jacobian of torch or a closed form."""

import copy
import re
import threading
from itertools import islice

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lindiff.deep import _graph
from lindiff.deep.jacobian import Jacobian, finite_difference
from lindiff.denoisers import LinearDenoiser
from lindiff.mixtures import EmpiricalBayes, GaussianMixture
from lindiff.power import krylov, power_iteration, subspace_iteration
from lindiff.subspaces import principal_angles

SIGMA = 0.7
# Relative rounding of a product: some 20 operations deep, on values of order one.
ROUNDING = {torch.float32: 2e-5, torch.float64: 1e-12}


class Attend(nn.Module):
    """Self-attention between pixels, by the fused kernel."""

    def __init__(self, channels):
        super().__init__()
        self.qkv = nn.Conv2d(channels, 3 * channels, 1)

    def forward(self, x):
        q, k, v = self.qkv(x).flatten(2).transpose(1, 2).chunk(3, dim=2)
        out = nn.functional.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
        return x + out.transpose(1, 2).reshape(x.shape)


class Tokens(nn.Module):
    """Self-attention by torch's module, whose evaluation mode has a fast path of its own."""

    def __init__(self, channels, **options):
        super().__init__()
        self.attention = nn.MultiheadAttention(channels, 2, batch_first=True, **options)

    def forward(self, x):
        rows = x.flatten(2).transpose(1, 2)
        out = self.attention(rows, rows, rows, need_weights=False)[0]
        return x + out.transpose(1, 2).reshape(x.shape)


class Net(nn.Module):
    """A small denoiser around any middle."""

    def __init__(self, middle):
        super().__init__()
        self.head, self.middle = nn.Conv2d(1, 8, 3, padding=1), middle
        self.norm, self.tail = nn.GroupNorm(2, 8), nn.Conv2d(8, 1, 3, padding=1)

    def forward(self, y, sigma):
        x = self.middle(nn.functional.silu(self.head(y / (1 + sigma))))
        return 0.5 * y + sigma * self.tail(nn.functional.silu(self.norm(x)))


MIDDLES = {
    "convolutional": lambda: nn.Conv2d(8, 8, 3, padding=1),
    "pooled": lambda: nn.Sequential(
        nn.AvgPool2d(2), nn.Conv2d(8, 8, 1), nn.Upsample(scale_factor=2)
    ),
    "fused attention": lambda: Attend(8),
    "multi-head attention": lambda: Tokens(8),
    "encoder layer": lambda: nn.Sequential(
        nn.Flatten(2),
        nn.TransformerEncoderLayer(64, 2, 16, batch_first=True),
        nn.Unflatten(2, (8, 8)),
    ),
    "batch norm": lambda: nn.Sequential(nn.BatchNorm2d(8), nn.ReLU()),
}


def network(middle="convolutional", dtype=torch.float64, seed=0):
    """A network in evaluation mode with fixed random weights."""
    torch.manual_seed(seed)
    return Net(MIDDLES[middle]()).to(dtype).eval()


def image(shape=(1, 8, 8), dtype=torch.float64, seed=1):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def oracle(denoiser, y, sigma=SIGMA):
    """The dense Jacobian by reverse mode, row by row, without any of the code under test."""
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        rows = torch.autograd.functional.jacobian(lambda x: denoiser(x[None], sigma)[0], y)
    return rows.reshape(y.numel(), y.numel()).double().numpy()


def matrix_denoiser(matrix, count=None):
    """The linear denoiser of a matrix; `count` collects how many images each call had."""

    def denoiser(y, sigma):
        if count is not None:
            count.append(len(y))
        return y @ torch.as_tensor(matrix, dtype=y.dtype).T

    return denoiser


def with_values(values, rng, symmetric=False):
    """A matrix with the given singular values, descending, and its singular vectors as rows."""
    left, right = (np.linalg.qr(rng.standard_normal((len(values),) * 2))[0] for _ in range(2))
    left = right if symmetric else left
    return left.T * values @ right, left, right


def counted(jacobian):
    """The vectors that go through each product from now on, per product."""
    counts = {"jv": 0, "vj": 0}

    def spy(name, product):
        def call(v):
            counts[name] += len(v)
            return product(v)

        return call

    for name in counts:
        setattr(jacobian, name, spy(name, getattr(jacobian, name)))
    return counts


# ---------------------------------------------------------------- products


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("middle", MIDDLES)
def test_products_are_those_of_the_dense_jacobian(rng, middle, dtype):
    net, y = network(middle, dtype), image(dtype=dtype)
    dense, jacobian = oracle(net, y), Jacobian(net, y, SIGMA)
    v = rng.standard_normal((5, 64))
    near = {"rtol": 0, "atol": ROUNDING[dtype] * np.linalg.norm(dense, 2) * 8}
    np.testing.assert_allclose(jacobian.dense(), dense, **near)
    np.testing.assert_allclose(jacobian.jv(v), v @ dense.T, **near)
    np.testing.assert_allclose(jacobian.vj(v), v @ dense, **near)
    np.testing.assert_allclose(jacobian.symmetric(v), v @ (dense + dense.T) / 2, **near)
    np.testing.assert_allclose(jacobian.denoised, net(y[None], SIGMA).detach()[0], **near)


@pytest.mark.parametrize("shape", [(1, 12, 12), (6, 6), (7,)])
def test_images_of_any_form_have_a_jacobian(rng, shape):
    y = image(shape)

    def denoiser(y, sigma):
        return y.sin() * y.flip(-1) / sigma

    dense, jacobian = oracle(denoiser, y), Jacobian(denoiser, y, SIGMA)
    assert jacobian.dim == dense.shape[0]
    np.testing.assert_allclose(jacobian.dense(), dense, atol=1e-12)
    np.testing.assert_allclose(jacobian.jv(np.eye(jacobian.dim)), dense.T, atol=1e-12)


F = nn.functional
W = torch.randn((2, 2, 3, 3), generator=torch.Generator().manual_seed(7), dtype=torch.float64)
CONVOLUTIONS = {
    "plain": lambda x: F.conv2d(x, W, padding=1),
    "all by name": lambda x: F.conv2d(input=x, weight=W, padding=1),
    "by name": lambda x: torch.conv2d(x, weight=W, bias=W[:, 0, 0, 0], padding=(1, 1)),
    "dilated": lambda x: F.conv2d(x, W, None, 1, 2, 2),
    "grouped": lambda x: F.conv2d(x, W[:, :1], padding=1, groups=2),
    "same": lambda x: F.conv2d(x, W, padding="same"),
    "strided": lambda x: F.interpolate(F.conv2d(x, W, stride=2, padding=1), scale_factor=2),
    "unbatched": lambda x: F.conv2d(x[0], W, padding=1)[None],
    "transposed": lambda x: F.conv_transpose2d(x, W, padding=1),
    "of a weight that depends on y": lambda x: F.conv2d(x, W * x.mean(), padding=1),
    "inside a vmap": lambda x: torch.func.vmap(lambda a: F.conv2d(a[None], W, padding=1)[0])(x),
    "inside an energy": lambda x: torch.autograd.grad(
        (F.conv2d(x, W, padding=1) ** 4).sum(), x, create_graph=True
    )[0],
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_every_form_of_a_convolution_has_its_exact_products(name):
    def denoiser(y, sigma):
        y = y if y.requires_grad else y.clone().requires_grad_()
        with torch.enable_grad():
            return CONVOLUTIONS[name](y.tanh() if name != "inside an energy" else y).sin()

    y = image((2, 6, 6))
    dense, jacobian = oracle(denoiser, y), Jacobian(denoiser, y, SIGMA)
    near = {"rtol": 0, "atol": 1e-12 * np.abs(dense).max()}
    np.testing.assert_allclose(jacobian.dense(), dense, **near)
    np.testing.assert_allclose(jacobian.jv(np.eye(72)).T, dense, **near)


def test_a_denoiser_may_change_its_image_in_place():
    y = image((2, 6, 6))
    before = y.clone()
    jacobian = Jacobian(lambda y, s: y.mul_(2).sin_(), y, SIGMA)
    np.testing.assert_allclose(jacobian.dense(), np.diag(2 * np.cos(2 * before.numpy().ravel())))
    np.testing.assert_allclose(jacobian.jv(np.eye(72)), jacobian.dense())
    assert torch.equal(y, before)


def test_a_denoiser_that_is_the_gradient_of_an_energy_has_a_symmetric_jacobian():
    conv = nn.Conv2d(2, 4, 3, padding=1).double().requires_grad_(False)

    def denoiser(y, sigma):
        energy = conv(y).tanh().square().sum()
        return y - sigma**2 * torch.autograd.grad(energy, y, create_graph=True)[0]

    y = image((2, 6, 6))
    with torch.no_grad():
        jacobian = Jacobian(denoiser, y, SIGMA)
    exact = (
        np.eye(72)
        - SIGMA**2
        * torch.autograd.functional.hessian(lambda y: conv(y[None]).tanh().square().sum(), y)
        .reshape(72, 72)
        .numpy()
    )
    np.testing.assert_allclose(jacobian.dense(), exact, atol=1e-12)
    np.testing.assert_allclose(jacobian.jv(np.eye(72)), exact, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_inside_the_denoiser_leaves_its_decompositions(dtype):
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 16, 3, padding=1), nn.SiLU(), nn.Conv2d(16, 1, 3, padding=1)]
    network, y = nn.Sequential(*layers).requires_grad_(False), image((1, 8, 8)).float()
    exact = Jacobian(lambda y, s: 0.8 * y + network(y), y, SIGMA).dense()
    half = copy.deepcopy(network).to(dtype)
    jacobian = Jacobian(lambda y, s: 0.8 * y + half(y.to(dtype)).to(y.dtype), y, SIGMA)
    gap = abs(jacobian.jv(np.eye(64)).T - jacobian.dense()).max()
    rounding = torch.finfo(dtype).eps
    assert gap > rounding / 100  # the products do disagree
    found = jacobian.svd(3, tol=4 * rounding, rng=np.random.default_rng(0))
    near = {"rtol": 4 * rounding}
    np.testing.assert_allclose(found.singular_values, np.linalg.svd(exact)[1][:3], **near)
    pairs = jacobian.eigh(3, tol=4 * rounding, rng=np.random.default_rng(0))
    np.testing.assert_allclose(
        pairs.eigenvalues, np.linalg.eigvalsh(exact + exact.T)[:-4:-1] / 2, **near
    )


class Double(torch.autograd.Function):
    """Twice y; its second derivative is wrong by an antisymmetric map, which one product hides."""

    @staticmethod
    def forward(ctx, y, back=False):
        ctx.back = back
        return 2 * y

    @staticmethod
    def backward(ctx, grad):
        if ctx.back:
            return 2 * grad + grad.roll(1, -1) - grad.roll(-1, -1), None
        return Double.apply(grad, True), None


@pytest.mark.parametrize("method", ["svd", "eigh"])
def test_products_that_are_not_adjoint_are_the_fault_of_a_backward_pass_and_not_of_the_caller(
    method,
):
    def denoiser(y, sigma):
        return Double.apply(y)

    with pytest.raises(ValueError, match="or a backward pass of its own"):
        getattr(Jacobian(denoiser, image((8,)), SIGMA, chunk=1), method)(2, rng=0)
    jacobian = Jacobian(denoiser, image((8,)), SIGMA, chunk=1, check=False)
    with pytest.raises(ValueError, match=r"asymmetric .* by construction, so a backward pass"):
        getattr(jacobian, method)(2, rng=np.random.default_rng(0))


@pytest.mark.parametrize(
    "norm", [nn.GroupNorm(2, 4), lambda x: F.group_norm(input=x, num_groups=2)]
)
def test_several_vectors_go_through_a_group_norm_of_images_with_the_channels_last(norm):
    first, last = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 1, 3, padding=1)
    model = nn.ModuleList([first, last, norm] if isinstance(norm, nn.Module) else [first, last])
    model.double()

    def denoiser(y, sigma):
        return last(norm(first(y).contiguous(memory_format=torch.channels_last)).sin())

    y = image()
    dense, jacobian = oracle(denoiser, y), Jacobian(denoiser, y, SIGMA)
    near = {"rtol": 0, "atol": 1e-12 * np.abs(dense).max()}
    np.testing.assert_allclose(jacobian.vj(np.eye(64)), dense, **near)
    np.testing.assert_allclose(jacobian.jv(np.eye(64)).T, dense, **near)


class Counting(TorchDispatchMode):
    """Counts convolutions of either direction."""

    count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += "convolution" in str(function)
        return function(*args, **(kwargs or {}))


def test_a_product_with_either_costs_one_convolution_for_each_of_the_network():
    jacobian = Jacobian(network(), image(), SIGMA)
    for product in (jacobian.jv, jacobian.vj):
        product(image())
        with Counting() as seen:
            product(image())
        assert seen.count == 3


def test_a_denoiser_under_autocast_keeps_its_own_convolutions():
    first, last = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 1, 3, padding=1)

    def net(y, sigma):
        return last(first(y).tanh())

    def denoiser(y, sigma):
        with torch.autocast("cpu", torch.bfloat16):
            return net(y, sigma).float()

    y = image(dtype=torch.float32)
    exact, found = Jacobian(net, y, SIGMA).dense(), Jacobian(denoiser, y, SIGMA)
    # bfloat16 has three digits
    assert np.linalg.norm(found.dense() - exact) < 0.03 * np.linalg.norm(exact)
    assert np.linalg.norm(found.jv(np.eye(64)).T - exact) < 0.03 * np.linalg.norm(exact)


@pytest.mark.parametrize("middle", ["pooled", "fused attention"])
@pytest.mark.parametrize("how", ["weights", "autocast inside", "autocast outside"])
def test_half_precision_has_the_products_up_to_its_rounding(middle, how):
    """Where several vectors at a time do not pass, they go one by one."""
    y, whole = image(dtype=torch.float32), network(middle, torch.float32)
    half = copy.deepcopy(whole).bfloat16()

    def weights(y, sigma):
        return half(y.bfloat16(), sigma).float()

    def inside(y, sigma):
        with torch.autocast("cpu", torch.bfloat16):
            return whole(y, sigma).float()

    def outside(y, sigma):
        return whole(y, sigma).float()

    denoiser = {"weights": weights, "autocast inside": inside, "autocast outside": outside}[how]
    v = np.random.default_rng(0).standard_normal((2, 64))
    exact = [getattr(Jacobian(whole, y, SIGMA), name)(v) for name in ("vj", "jv")]
    with torch.autocast("cpu", torch.bfloat16, enabled=how == "autocast outside"):
        jacobian = Jacobian(denoiser, y, SIGMA, check=False)
        found = [getattr(jacobian, name)(v) for name in ("vj", "jv")]
    for product, expected in zip(found, exact, strict=True):  # bfloat16 has three digits
        assert 1e-6 < np.linalg.norm(product - expected) / np.linalg.norm(expected) < 0.03


def test_a_video_passes_with_its_frames_as_channels(rng):
    torch.manual_seed(0)
    model = nn.Conv3d(3, 3, 3, padding=1).double()  # videos (n, c, t, h, w)
    y = torch.from_numpy(rng.standard_normal((3, 2, 4, 4)))
    with pytest.raises(ValueError, match="of a video") as refusal:
        Jacobian(lambda y, sigma: model(y), y, SIGMA)
    advice = re.search(r"pass (y.fl.*) and (lambda.*)", str(refusal.value)).groups()
    flat, wrapped = (eval(text, {"y": y, "D": lambda y, sigma: model(y)}) for text in advice)
    exact = torch.autograd.functional.jacobian(lambda y: model(y[None])[0], y).reshape(96, 96)
    np.testing.assert_allclose(Jacobian(wrapped, flat, SIGMA).dense(), exact, atol=1e-12)


def test_vectors_come_back_in_the_form_in_which_they_went(rng):
    y = image(dtype=torch.float32)
    jacobian = Jacobian(network(dtype=torch.float32), y, SIGMA)
    rows = rng.standard_normal((3, 64))
    expected = jacobian.jv(rows)
    for form in ((3, 64), (3, 1, 8, 8)):
        as_numpy = jacobian.jv(rows.reshape(form))
        as_torch = jacobian.jv(torch.from_numpy(rows.reshape(form)))
        assert as_numpy.shape == tuple(as_torch.shape) == form
        assert as_numpy.dtype == np.float64 and as_torch.dtype == torch.float32
        np.testing.assert_allclose(as_numpy.reshape(3, 64), expected, atol=1e-6)
        np.testing.assert_allclose(as_torch.reshape(3, 64), expected, atol=1e-6)
    for form in ((64,), (1, 8, 8), (1, 64)):
        assert jacobian.vj(rows[0].reshape(form)).shape == form
    np.testing.assert_allclose(jacobian.jv(rows[0]), expected[0], atol=1e-6)
    np.testing.assert_allclose(jacobian.jv(rows.tolist()), expected, atol=1e-6)


@pytest.mark.parametrize("chunk", [1, 2, 5, 64])
def test_the_chunk_changes_nothing_but_memory(chunk):
    net, y = network(), image()
    whole, parts = Jacobian(net, y, SIGMA), Jacobian(net, y, SIGMA, chunk=chunk)
    v = image((7, 1, 8, 8), seed=2)
    np.testing.assert_allclose(parts.jv(v), whole.jv(v), atol=1e-13)
    np.testing.assert_allclose(parts.vj(v), whole.vj(v), atol=1e-13)
    for name, arguments in {"trace": (9,), "asymmetry": (9,), "svd": (3,), "eigh": (3,)}.items():
        a, b = (getattr(j, name)(*arguments, rng=np.random.default_rng(5)) for j in (whole, parts))
        np.testing.assert_allclose(a[0], b[0], rtol=1e-10)


def test_the_denoiser_sees_batches_of_one_and_only_when_the_jacobian_is_made(rng):
    count = []
    jacobian = Jacobian(matrix_denoiser(np.eye(5), count), image((5,)), SIGMA)
    assert count == [1] * 8  # itself, its repetition, and three central differences for two checks
    made = len(count)
    jacobian.svd(2, rng=rng)
    jacobian.dense()
    assert len(count) == made


def test_the_noise_level_reaches_the_denoiser_as_a_float():
    seen = []

    def denoiser(y, sigma):
        seen.append(sigma)
        return y * sigma

    assert Jacobian(denoiser, image((2,)), np.float32(0.5)).dense()[0, 0] == 0.5
    assert {type(sigma) for sigma in seen} == {float}


def test_a_jacobian_that_is_zero_is_not_taken_for_a_missing_one(rng):
    for flat in (lambda y, sigma: 0 * y, lambda y, sigma: y.sign(), lambda y, sigma: y.round()):
        jacobian = Jacobian(flat, image((6,)), SIGMA)
        assert not jacobian.dense().any() and not jacobian.jv(np.eye(6)).any()
        triplets = jacobian.svd(2, rng=rng)
        np.testing.assert_array_equal(triplets.singular_values, 0)
        np.testing.assert_array_equal(triplets.residuals, 0)
        np.testing.assert_allclose(triplets.left @ triplets.left.T, np.eye(2), atol=1e-12)
        assert np.isnan(jacobian.asymmetry().value)
        assert np.isnan(jacobian.asymmetry(4, rng=rng).value)
        assert jacobian.trace(4, rng=rng) == (0, 0)


def test_a_score_made_by_differentiating_an_energy_is_a_denoiser_too():
    def denoiser(y, sigma):
        y = y if y.requires_grad else y.clone().requires_grad_()
        with torch.enable_grad():
            energy = (y**4).sum() / 4 + y.prod()
            return y - sigma * torch.autograd.grad(energy, y, create_graph=True)[0]

    y = image((3,))
    others = np.array([[0, y[2], y[1]], [y[2], 0, y[0]], [y[1], y[0], 0]])
    expected = np.eye(3) - SIGMA * (np.diag(3 * y.numpy() ** 2) + others)
    np.testing.assert_allclose(Jacobian(denoiser, y, SIGMA).jv(np.eye(3)), expected, atol=1e-12)


def test_products_work_whatever_mode_of_autograd_is_on():
    net, expected = network(), oracle(network(), image())
    for mode in (torch.no_grad, torch.inference_mode, torch.enable_grad):
        with mode():
            jacobian = Jacobian(net, image(), SIGMA)
            np.testing.assert_allclose(jacobian.dense(), expected, atol=1e-12)
            columns = jacobian.jv(torch.eye(64, dtype=torch.float64))
            np.testing.assert_allclose(columns.T, expected, atol=1e-12)
            assert not columns.requires_grad


# ---------------------------------------------------------------- closed forms


def test_the_jacobian_of_a_linear_denoiser_is_its_basis_and_its_gains(random_law, rng):
    model = random_law([9.0, 4.0, 1.0, 0.3], dim=16)
    denoiser = LinearDenoiser(model)

    def on_images(y, sigma):
        return denoiser(y.flatten(1), sigma).reshape(y.shape)

    jacobian = Jacobian(on_images, image((1, 4, 4)), SIGMA)
    np.testing.assert_allclose(jacobian.dense(), denoiser.matrix(SIGMA), atol=1e-12)
    triplets, pairs = (f(4, tol=1e-9, rng=rng) for f in (jacobian.svd, jacobian.eigh))
    for values in (triplets.singular_values, pairs.eigenvalues):
        np.testing.assert_allclose(values, denoiser.gains(SIGMA), atol=1e-9)
    for vectors in (triplets.right, triplets.left, pairs.eigenvectors):
        overlap = np.abs(vectors @ model.basis.T)
        np.testing.assert_allclose(overlap, np.eye(4), atol=1e-6)
    assert jacobian.asymmetry().value < 1e-12
    assert jacobian.trace().value == pytest.approx(denoiser.gains(SIGMA).sum())


def test_the_jacobian_of_a_gaussian_mixture_is_its_closed_form(random_law):
    parts = [random_law([3.0, 1.0], dim=6, seed=1), random_law([2.0], dim=6, seed=2)]
    denoiser, y = GaussianMixture([0.4, 0.6], parts), 2 * image((6,))
    expected = denoiser.jacobian(y, SIGMA)
    jacobian = Jacobian(denoiser, y, SIGMA)
    np.testing.assert_allclose(jacobian.dense(), expected, atol=1e-10)
    np.testing.assert_allclose(jacobian.jv(np.eye(6)), expected, atol=1e-10)


# ---------------------------------------------------------------- singular vectors, eigenvectors

SPECTRA = {
    "generic": 0.8 ** np.arange(40),
    "clustered near 1": np.r_[1 + 0.03 * np.arange(8)[::-1], np.linspace(0.98, 0, 32)],
    "repeated": np.r_[np.ones(4), np.full(36, 0.5)],
    "two close": np.r_[1.0, 1 - 1e-4, np.linspace(0.9, 0, 38)],
    "low rank": np.r_[2.0, 1.0, 0.5, np.zeros(37)],
}


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("k", [1, 4, 6])
@pytest.mark.parametrize("name", SPECTRA)
def test_singular_triplets_are_those_of_the_dense_matrix(rng, name, k, dtype):
    matrix, _, _ = with_values(SPECTRA[name], rng)
    jacobian = Jacobian(matrix_denoiser(matrix), image((40,), dtype), SIGMA)
    found = jacobian.svd(k, tol=1e-4, block=4, rng=rng)
    scale = SPECTRA[name][0]
    # A value is right to its residual; a residual that the stop bounds, plus rounding over tol
    np.testing.assert_allclose(found.singular_values, SPECTRA[name][:k], atol=2e-4 * scale)
    for vectors in (found.left, found.right):
        assert vectors.shape == (k, 40) and vectors.dtype == np.float64
        np.testing.assert_allclose(vectors @ vectors.T, np.eye(k), atol=1e-6)
    ahead = found.right @ matrix.T - found.singular_values[:, None] * found.left
    back = found.left @ matrix - found.singular_values[:, None] * found.right
    assert np.abs(ahead).max() < 1e-5 * scale
    exact = np.linalg.norm(back, axis=1) / found.singular_values[0]
    np.testing.assert_allclose(found.residuals, exact, atol=1e-5)
    assert found.converged and found.residuals.max() <= 1e-4


@pytest.mark.parametrize("k", [1, 3, 12])
@pytest.mark.parametrize("middle", ["convolutional", "fused attention"])
def test_singular_triplets_of_a_network_are_those_of_its_dense_jacobian(rng, middle, k):
    net, y = network(middle), image((1, 12, 12) if middle == "convolutional" else (1, 8, 8))
    dense = oracle(net, y)
    left, values, right = np.linalg.svd(dense)
    found = Jacobian(net, y, SIGMA).svd(k, tol=1e-8, rng=rng)
    np.testing.assert_allclose(found.singular_values, values[:k], rtol=1e-12)
    # the gap behind the last bounds the angle of the subspace by residual / gap
    near = 1e-7 * values[0] / (values[k - 1] - values[k])
    assert principal_angles(found.right, right[:k]).max() < near
    assert principal_angles(found.left, left.T[:k]).max() < near


@pytest.mark.parametrize("k", [1, 3, 12])
def test_eigenpairs_are_those_of_the_symmetric_part(rng, k):
    net, y = network(), image((1, 12, 12))
    dense = oracle(net, y)
    values, vectors = np.linalg.eigh((dense + dense.T) / 2)
    found = Jacobian(net, y, SIGMA).eigh(k, tol=1e-8, rng=rng)
    np.testing.assert_allclose(found.eigenvalues, values[::-1][:k], rtol=1e-12)
    near = 1e-7 * np.abs(values).max() / (values[-k] - values[-k - 1])
    assert principal_angles(found.eigenvectors, vectors.T[::-1][:k]).max() < near


def test_where_values_cluster_krylov_is_done_long_before_power_iteration(rng):
    """Singular values spread over [0.9, 1.2], as those of a trained denoiser."""
    spectrum = np.r_[np.linspace(1.2, 0.9, 30), np.linspace(0.8, 0.01, 170)]
    matrix, _, _ = with_values(spectrum, rng)
    jacobian = Jacobian(matrix_denoiser(matrix), image((200,)), SIGMA)
    k = 5
    found = jacobian.svd(k, rng=rng)
    assert found.converged and found.residuals.max() <= 1e-3
    gram = matrix.T @ matrix

    def residual(value, vector):
        image = vector @ gram - np.atleast_1d(value)[:, None] * np.atleast_2d(vector)
        return np.linalg.norm(image, axis=1).max() / 1.2

    # the same number of products: a pair for each of 1, or of 5, vectors in a step
    alone = list(islice(power_iteration(gram, rng.standard_normal(200)), found.products // 2))[-1]
    steps = found.products // 2 // k
    block = list(islice(subspace_iteration(gram, rng.standard_normal((k, 200))), steps))[-1]
    assert residual(*alone) > 3e-3
    assert residual(*block) > 2e-2


def test_a_power_iteration_on_j_alone_finds_another_vector(rng):
    matrix, _, right = with_values([2.0, 1.5, 1.0, 0.5], rng)
    jacobian = Jacobian(matrix_denoiser(matrix), image((4,)), SIGMA)
    found = jacobian.svd(1, tol=1e-9, rng=rng)
    assert abs(found.right[0] @ right[0]) == pytest.approx(1, abs=1e-12)
    eigenvector = np.linalg.eig(matrix)
    leading = np.abs(
        eigenvector.eigenvectors[:, np.abs(eigenvector.eigenvalues).argmax()].conj() @ right[0]
    )
    assert leading < 0.99


def test_a_block_finds_as_many_vectors_of_a_value_as_it_has(rng):
    matrix, _, _ = with_values(np.r_[1.0, 1.0, 0.5 * 0.5 ** np.arange(198)], rng)
    jacobian = Jacobian(matrix_denoiser(matrix), image((200,)), SIGMA)
    values = jacobian.svd(2, rng=rng).singular_values  # a small image has a block of three
    np.testing.assert_allclose(values, 1, atol=1e-6)
    # a single start sees one direction of the pair: its second value is that of the bulk
    values = jacobian.svd(2, block=1, rng=rng).singular_values
    np.testing.assert_allclose(values, [1, 0.5], atol=1e-6)


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
@pytest.mark.parametrize("method", ["svd", "eigh"])
def test_a_space_that_closes_is_opened_before_it_is_believed(method, dtype, rng):
    """A start sees one vector of each value; where they are all, the search starts from another."""
    matrix, _, _ = with_values(np.r_[1.0, 1.0, 0.5, np.full(197, 0.1)], rng, symmetric=True)
    jacobian = Jacobian(matrix_denoiser(matrix), image((200,), dtype), SIGMA)
    found = getattr(jacobian, method)(2, block=1, rng=rng)
    np.testing.assert_allclose(found[0], 1, atol=1e-6)
    assert found.products < 20
    none = Jacobian(lambda y, s: 0.5 * y, image((200,), dtype), SIGMA)
    assert getattr(none, method)(3, block=1, rng=rng).products < 10


@pytest.mark.parametrize("method", ["svd", "eigh"])
def test_a_single_start_that_settles_does_not_pass_values_over(method):
    """At a loose tolerance most searches that end at once miss one of the first four values."""
    values, tol = np.r_[np.linspace(1, 0.8, 30), np.linspace(0.7, 0, 170)], 3e-2
    matrix, _, _ = with_values(values, np.random.default_rng(1), symmetric=True)
    jacobian = Jacobian(matrix_denoiser(matrix), image((200,)), SIGMA)
    for seed in range(10):
        found = getattr(jacobian, method)(4, tol=tol, block=1, rng=seed)
        assert np.abs(found[0] - values[:4]).max() < tol


def test_the_largest_value_is_seldom_passed_over():
    """A start with little of the first vector settles on the second: 13 of 300 that do not wait."""
    values = np.r_[1.3, 1.0, np.linspace(0.1, 0, 298)]
    matrix, _, _ = with_values(values, np.random.default_rng(1))
    jacobian = Jacobian(matrix_denoiser(matrix), image((300,)), SIGMA)
    found = [jacobian.svd(1, tol=0.1, rng=seed).singular_values[0] for seed in range(300)]
    assert np.less(found, 1.2).sum() <= 6


def test_the_block_is_chosen_by_the_size_and_by_how_many_are_asked_for(rng):
    for dim, k, block in ((40, 1, 1), (40, 2, 3), (40, 6, 4), (1025, 2, 1), (1025, 1, 1)):
        calls = []
        jacobian = Jacobian(lambda y, s: y.tanh(), image((dim,)), SIGMA)
        product = jacobian.jv
        jacobian.jv = lambda v, f=product, c=calls: (c.append(len(v)), f(v))[1]
        jacobian.svd(k, tol=0.1, rng=rng)
        assert max(calls) == block, f"d = {dim}, k = {k}: {calls}"


@pytest.mark.parametrize("k", [1, 3])
def test_products_are_counted(rng, k):
    for decompose in ("svd", "eigh"):
        jacobian = Jacobian(network(), image(), SIGMA)
        counts = counted(jacobian)
        found = getattr(jacobian, decompose)(k, rng=rng)
        assert found.products == counts["jv"] + counts["vj"]
        assert counts["jv"] == counts["vj"] < 64


def test_the_extra_product_for_a_tiny_value_is_counted(rng):
    matrix, _, _ = with_values(np.r_[1.0, np.zeros(9)], rng)
    jacobian = Jacobian(matrix_denoiser(matrix), image((10,)), SIGMA)
    counts = counted(jacobian)
    found = jacobian.svd(3, rng=rng)
    assert counts["vj"] == counts["jv"] + 2
    assert found.products == counts["jv"] + counts["vj"]


@pytest.mark.parametrize("budget", [6, 7, 12, 20])
def test_the_budget_is_kept_and_the_residuals_tell_what_it_reached(rng, budget):
    net, y = network(), image()
    dense, jacobian = oracle(net, y), Jacobian(net, y, SIGMA)
    with pytest.warns(RuntimeWarning, match=r"not tol=1e-09; max_products is spent") as caught:
        found = jacobian.svd(3, tol=1e-9, max_products=budget, rng=rng)
    assert [warning.filename for warning in caught] == [__file__]
    assert found.products <= budget and not found.converged
    back = np.linalg.norm(found.left @ dense - found.singular_values[:, None] * found.right, axis=1)
    np.testing.assert_allclose(found.residuals, back / found.singular_values[0], rtol=1e-6)
    assert found.residuals.max() > 1e-3
    with pytest.warns(RuntimeWarning, match="max_products is spent") as caught:
        few = jacobian.eigh(3, tol=1e-9, max_products=budget, rng=rng)
    assert [warning.filename for warning in caught] == [__file__]
    assert few.products <= budget and not few.converged


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
def test_a_tolerance_of_zero_stops_at_rounding(rng, dtype):
    jacobian = Jacobian(network(dtype=dtype), image((1, 12, 12), dtype), SIGMA)
    reached = 5e-7 if dtype == torch.float32 else 1e-14
    for found in (jacobian.svd(2, tol=0.0, rng=rng), jacobian.eigh(2, tol=0.0, rng=rng)):
        assert found.converged and found.residuals.max() < reached
        assert found.products < 2 * 130  # the whole space takes 2 * 144


@pytest.mark.parametrize("middle", ["convolutional", "fused attention"])
def test_single_precision_reaches_a_millionth_and_says_when_it_cannot(middle):
    net, y = network(middle, torch.float32), image((1, 16, 16), torch.float32)
    jacobian = Jacobian(net, y, SIGMA)
    for block in (1, 4):
        found = jacobian.svd(4, tol=1e-6, block=block, rng=0)
        again = jacobian.vj(found.left) - found.singular_values[:, None] * found.right
        assert found.converged and found.products < 300
        assert np.linalg.norm(again, axis=1).max() < 2e-6 * found.singular_values[0]
        for method in (jacobian.svd, jacobian.eigh):
            with pytest.warns(RuntimeWarning, match=r"not tol=1e-12; the rounding of the products"):
                less = method(4, tol=1e-12, block=block, rng=0)
            assert not less.converged and less.products < 400 and less.residuals.max() < 1e-6


def test_the_same_seed_gives_the_same_answer():
    jacobian = Jacobian(network(), image(), SIGMA)
    for name in ("svd", "eigh", "trace", "asymmetry"):
        a, b = (getattr(jacobian, name)(3, rng=np.random.default_rng(4)) for _ in range(2))
        for one, other in zip(a, b, strict=True):
            np.testing.assert_array_equal(one, other)


def test_scipy_and_the_iterations_of_the_package_take_it_as_an_operator(rng):
    net, y = network(), image()
    dense, jacobian = oracle(net, y), Jacobian(net, y, SIGMA)
    operator, v = jacobian.linear_operator(), rng.standard_normal((64, 3))
    assert operator.shape == (64, 64)
    np.testing.assert_allclose(operator @ v, dense @ v, atol=1e-12)
    np.testing.assert_allclose(operator.T @ v, dense.T @ v, atol=1e-12)
    np.testing.assert_allclose(operator @ v[:, 0], dense @ v[:, 0], atol=1e-12)
    np.testing.assert_allclose(operator.T @ v[:, :1], dense.T @ v[:, :1], atol=1e-12)
    largest = np.linalg.eigvalsh((dense + dense.T) / 2)[-1]
    assert krylov(jacobian.symmetric, 1, dim=64, rng=rng).eigenvalues[0] == pytest.approx(largest)


# ---------------------------------------------------------------- trace and asymmetry


@pytest.mark.parametrize("middle", ["convolutional", "fused attention"])
def test_the_exact_trace_and_asymmetry_are_those_of_the_dense_jacobian(middle):
    net, y = network(middle), image()
    dense, jacobian = oracle(net, y), Jacobian(net, y, SIGMA)
    assert jacobian.trace() == (pytest.approx(np.trace(dense)), 0)
    ratio = np.linalg.norm(dense - dense.T) / np.linalg.norm(dense)
    assert jacobian.asymmetry() == (pytest.approx(ratio), 0)


@pytest.mark.parametrize("name", ["trace", "asymmetry"])
def test_estimates_are_as_good_as_their_standard_error_says(rng, name):
    jacobian = Jacobian(network(), image(), SIGMA)
    exact, estimate = getattr(jacobian, name)().value, getattr(jacobian, name)
    runs = np.array([estimate(60, rng=rng) for _ in range(80)])
    z = (runs[:, 0] - exact) / runs[:, 1]
    # 80 standardised errors: mean 0 with error 0.11, variance 1 with error 0.16; four of each
    assert abs(z.mean()) < 0.45
    assert 0.4 < z.var() < 1.65
    assert runs[:, 1].max() < 0.1 * abs(exact) + 1


def test_random_signs_give_the_trace_of_a_diagonal_jacobian_without_error(rng):
    jacobian = Jacobian(lambda y, sigma: y**2, image((9,)), SIGMA)
    assert jacobian.trace(2, rng=rng) == pytest.approx((2 * float(image((9,)).sum()), 0), abs=1e-12)


def test_asymmetry_has_its_known_scale(rng):
    skew = np.array([[0.0, 1.0], [-1.0, 0.0]])
    noise = rng.standard_normal((120, 120))
    for matrix, expected, near in ((skew, 2, 1e-12), (np.eye(2), 0, 0), (noise, 2**0.5, 0.02)):
        jacobian = Jacobian(matrix_denoiser(matrix), image((len(matrix),)), SIGMA)
        assert jacobian.asymmetry().value == pytest.approx(expected, abs=near)
        value, error = jacobian.asymmetry(30, rng=rng)
        assert abs(value - expected) <= near + 5 * error


# ---------------------------------------------------------------- the user's model


class Spied(nn.Module):
    """Everything that a Jacobian might change by accident."""

    def __init__(self):
        super().__init__()
        self.net = Net(nn.Sequential(nn.BatchNorm2d(8), nn.Dropout(0.5), Attend(8)))
        self.frozen = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, y, sigma):
        return self.frozen * self.net(y, sigma)


def test_the_model_is_left_as_it_was(rng):
    torch.manual_seed(3)
    model, y = Spied().double().eval(), image().requires_grad_()
    model.net.tail.weight.grad = torch.ones_like(model.net.tail.weight)
    before = {
        name: (value.clone(), value.requires_grad, value._version)
        for name, value in model.state_dict(keep_vars=True).items()
    }
    state = torch.random.get_rng_state()
    jacobian = Jacobian(model, y, SIGMA)
    jacobian.svd(2, rng=rng)
    jacobian.eigh(1, rng=rng)
    jacobian.asymmetry(3, rng=rng)
    finite_difference(model, y, SIGMA, np.ones(64))
    for name, value in model.state_dict(keep_vars=True).items():
        old, needs, version = before[name]
        assert torch.equal(value, old) and value.requires_grad == needs
        assert value._version == version, name
        assert value.grad is None or name == "net.tail.weight"
    assert torch.equal(model.net.tail.weight.grad, torch.ones_like(model.net.tail.weight))
    assert not any(module.training for module in model.modules())
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert not nn.modules.module._global_forward_pre_hooks
    assert y.grad is None and y.requires_grad
    assert torch.equal(torch.random.get_rng_state(), state)


ACTIVE = {
    "Dropout": lambda: nn.Dropout(0.1),
    "Dropout2d": lambda: nn.Dropout2d(0.1),
    "BatchNorm2d": lambda: nn.BatchNorm2d(8),
    "InstanceNorm2d": lambda: nn.InstanceNorm2d(8, track_running_stats=True),
    "MultiheadAttention": lambda: Tokens(8, dropout=0.1),
}
WRAPPED = {
    "module": lambda net: net,
    "function": lambda net: lambda y, sigma: net(y, sigma),
    "method": lambda net: net.forward,
}


@pytest.mark.parametrize("wrap", WRAPPED)
@pytest.mark.parametrize("name", ACTIVE)
def test_a_model_in_training_mode_is_refused_before_it_changes(name, wrap):
    net = Net(ACTIVE[name]()).double()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    message = re.escape(
        f"runs {name} in training mode; expected evaluation mode: call model.eval()"
    )
    for attempt in (Jacobian, lambda *a: finite_difference(*a, np.ones(64))):
        with pytest.raises(ValueError, match=message):
            attempt(WRAPPED[wrap](net), image(), SIGMA)
    assert net.training
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert not nn.modules.module._global_forward_pre_hooks
    Jacobian(WRAPPED[wrap](net.eval()), image(), SIGMA)


@pytest.mark.parametrize(
    "harmless",
    [nn.Identity, lambda: nn.Dropout(0.0), lambda: nn.InstanceNorm2d(8), lambda: Tokens(8)],
)
def test_training_mode_that_changes_nothing_is_no_reason_to_refuse(harmless):
    assert Jacobian(Net(harmless()).double().train(), image(), SIGMA).dim == 64


def test_training_in_another_thread_goes_on():
    """The check listens to all modules while it runs; only those of its own thread matter."""
    outcome = []

    def train():
        outcome.append(nn.Dropout(0.5)(torch.ones(3)).shape)

    def denoiser(y, sigma):
        thread = threading.Thread(target=train)
        thread.start()
        thread.join()
        return 2 * y

    Jacobian(denoiser, image((3,)), SIGMA)
    assert set(outcome) == {(3,)}


# ---------------------------------------------------------------- finite differences


def rounded(denoiser):
    """The same denoiser by way of NumPy: nothing that torch can differentiate."""
    return lambda y, sigma: torch.from_numpy(denoiser(y.detach(), sigma).detach().numpy())


# The error at the default step is about (eps |y| / sigma)^(2/3), 1e-4 and 2e-10 here; a step that
# is wrong by a factor of ten makes five to ten times as much.
@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 3e-4), (torch.float64, 5e-10)])
@pytest.mark.parametrize("scale", [1e-2, 1.0, 1e2])
def test_finite_differences_agree_with_the_exact_product(rng, dtype, near, scale):
    """Stretch the whole problem, y and sigma: the default step must stretch with it."""
    net = network(dtype=dtype)

    def denoiser(y, sigma):
        return scale * net(y / scale, sigma / scale)

    y, sigma, v = scale * image(dtype=dtype), scale * SIGMA, rng.standard_normal((3, 64))
    exact = Jacobian(denoiser, y, sigma).jv(v)
    found = finite_difference(rounded(denoiser), y, sigma, v)
    assert found.shape == v.shape and found.dtype == np.float64
    assert np.linalg.norm(found - exact) < near * np.linalg.norm(exact)


def test_finite_differences_are_linear_in_the_length_of_the_vector():
    net, y = network(), image()
    v = image((2, 1, 8, 8), seed=5)
    once = finite_difference(net, y, SIGMA, v)
    np.testing.assert_allclose(finite_difference(net, y, SIGMA, 1e6 * v), 1e6 * once, rtol=1e-6)
    np.testing.assert_allclose(finite_difference(net, y, SIGMA, v[0]), once[0], atol=1e-9)
    assert not finite_difference(net, y, SIGMA, 0 * v).any()


def test_the_error_of_finite_differences_falls_with_the_square_of_the_step():
    y, v = torch.tensor([1.0], dtype=torch.float64), torch.tensor([3.0], dtype=torch.float64)

    def cube(y, sigma):
        return y**3

    for step in (1e-2, 1e-3):  # ((1 + h)^3 - (1 - h)^3) / 2h = 3 + h^2
        found = finite_difference(cube, y, SIGMA, v, step=step)
        assert float(found) / 3 == pytest.approx(3 + step**2, abs=1e-11)


@pytest.mark.parametrize("chunk", [1, 2, 7])
def test_finite_differences_call_the_denoiser_on_chunks(chunk):
    count = []
    v = image((5, 4), seed=2)
    found = finite_difference(matrix_denoiser(np.eye(4), count), image((4,)), SIGMA, v, chunk=chunk)
    np.testing.assert_allclose(found, v, atol=1e-9)
    assert max(count) <= chunk and sum(count) == 10


def test_finite_differences_work_at_the_origin():
    found = finite_difference(lambda y, s: y.sin(), torch.zeros(3).double(), SIGMA, np.eye(3))
    np.testing.assert_allclose(found, np.eye(3), atol=1e-9)


# ---------------------------------------------------------------- wrong input

Y = image((1, 4, 4))
DOUBLE = lambda y, sigma: 2 * y  # noqa: E731
GOOD = Jacobian(DOUBLE, Y, SIGMA)
RNG = np.random.default_rng(0)


class Declared(torch.autograd.Function):
    """A function with a first derivative only, that says so."""

    @staticmethod
    def forward(ctx, y):
        return 2 * y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        return 2 * grad


class Silent(Declared):
    """The same, silently: torch takes its second derivative for zero."""

    @staticmethod
    def backward(ctx, grad):
        return 2 * grad.detach()


@torch.no_grad()
def without_gradients(y, sigma):
    return 2 * y


OFFER = "lindiff.deep.jacobian.finite_difference(denoiser, y, sigma, v)"
NOT_DIFFERENTIABLE = {
    "detach": lambda y, sigma: 2 * y.detach(),
    "no_grad": without_gradients,
    "inference_mode": torch.inference_mode()(lambda y, sigma: 2 * y),
    "detached, beside a parameter": lambda y, sigma: (
        y.detach() * torch.ones(1, requires_grad=True).double()
    ),
    "constant": lambda y, sigma: torch.ones_like(y),
    "numpy": lambda y, sigma: torch.from_numpy(2 * y.numpy()),
    "detached numpy": lambda y, sigma: torch.from_numpy(2 * y.detach().numpy()),
}


@pytest.mark.parametrize("name", NOT_DIFFERENTIABLE)
def test_a_denoiser_without_a_derivative_is_refused_with_a_way_out(name):
    with pytest.raises(ValueError, match=re.escape(OFFER)):
        Jacobian(NOT_DIFFERENTIABLE[name], Y, SIGMA)


@pytest.mark.parametrize("once", [Declared, Silent])
@pytest.mark.parametrize("share", [1.0, 0.2])
def test_a_denoiser_with_one_derivative_has_the_transposed_product_only(once, share):
    jacobian = Jacobian(lambda y, s: share * once.apply(y) + (1 - share) * 2 * y, Y, SIGMA)
    np.testing.assert_allclose(jacobian.vj(Y), 2 * Y)
    with pytest.raises(ValueError, match=re.escape(OFFER)):
        jacobian.jv(Y)


def test_gradient_checkpointing_is_refused_by_name():
    conv = nn.Conv2d(1, 1, 3, padding=1).double()

    def denoiser(y, sigma):
        return torch.utils.checkpoint.checkpoint(lambda x: conv(x).tanh(), y, use_reentrant=False)

    with pytest.raises(ValueError, match="uses gradient checkpointing; turn it off"):
        Jacobian(denoiser, Y, SIGMA)


def test_an_error_of_the_denoiser_itself_comes_through():
    with pytest.raises(RuntimeError, match="must match the size"):
        Jacobian(lambda y, sigma: y + torch.ones(7), Y, SIGMA)


WRONG = {
    "a batch": (
        lambda: Jacobian(DOUBLE, image((2, 1, 4, 4)), SIGMA),
        "y has shape (2, 1, 4, 4); expected one image (c, h, w). Of a batch (n, c, h, w) pass y[0]",
    ),
    "a batch for differences": (
        lambda: finite_difference(DOUBLE, image((2, 1, 4, 4)), SIGMA, Y),
        "expected one image (c, h, w). Of a batch (n, c, h, w) pass y[0]",
    ),
    "an array": (lambda: Jacobian(DOUBLE, np.ones(3), SIGMA), "y is ndarray; expected a torch"),
    "integers": (
        lambda: Jacobian(DOUBLE, torch.ones(3).long(), SIGMA),
        "y is torch.int64; expected",
    ),
    "half": (lambda: Jacobian(DOUBLE, torch.ones(3).half(), SIGMA), "y is torch.float16; expected"),
    "half, with the way out": (
        lambda: Jacobian(DOUBLE, torch.ones(3).bfloat16(), SIGMA),
        "pass y.float() and lambda y, sigma: D(y.bfloat16(), sigma).float()",
    ),
    "a number": (lambda: Jacobian(DOUBLE, torch.tensor(1.0), SIGMA), "y has shape (); expected"),
    "nothing": (lambda: Jacobian(DOUBLE, torch.ones(0), SIGMA), "y has shape (0,); expected"),
    "nan": (lambda: Jacobian(DOUBLE, Y * np.nan, SIGMA), "y contains nan or inf; expected finite"),
    "sigma of zero": (
        lambda: Jacobian(DOUBLE, Y, 0.0),
        "sigma is 0.0; expected a finite number > 0",
    ),
    "sigma below zero": (lambda: Jacobian(DOUBLE, Y, -1.0), "sigma is -1.0; expected"),
    "sigma of nan": (lambda: finite_difference(DOUBLE, Y, np.nan, Y), "sigma is nan; expected"),
    "chunk of zero": (lambda: Jacobian(DOUBLE, Y, 1.0, chunk=0), "chunk is 0; expected"),
    "an infinite result": (
        lambda: Jacobian(lambda y, s: y / 0, Y, SIGMA),
        "the denoiser returned a value that is not finite",
    ),
    "a result of another shape": (
        lambda: Jacobian(lambda y, s: y[:, :, :2], Y, SIGMA),
        "the denoiser returned (1, 1, 2, 4); expected a tensor (1, 1, 4, 4)",
    ),
    "an object": (
        lambda: Jacobian(lambda y, s: (y,), Y, SIGMA),
        "the denoiser returned tuple; expected a tensor (1, 1, 4, 4)",
    ),
    "a result of another precision": (
        lambda: Jacobian(lambda y, s: y.float(), Y, SIGMA),
        "the denoiser returned torch.float32 for torch.float64; end it with .to(y.dtype)",
    ),
    "integers as a result": (
        lambda: Jacobian(lambda y, s: y.round().long(), Y, SIGMA),
        "the denoiser returned torch.int64 for torch.float64; end it with .to(y.dtype)",
    ),
    "noise": (
        lambda: Jacobian(lambda y, s: y * torch.rand_like(y), Y, SIGMA),
        "the denoiser gave two results for the same y; expected a function",
    ),
    "noise of tiny images": (
        lambda: Jacobian(lambda y, s: 1e-6 * y * torch.rand_like(y), Y, SIGMA),
        "the denoiser gave two results for the same y; expected a function",
    ),
    "functional dropout": (
        lambda: Jacobian(lambda y, s: nn.functional.dropout(y), Y, SIGMA),
        "call model.eval(), or fix what it draws",
    ),
    "a derivative that is infinite": (
        lambda: Jacobian(lambda y, s: (y - Y).abs().sqrt(), Y, SIGMA).vj(Y),
        "a product with the Jacobian is not finite",
    ),
    "v of another shape": (
        lambda: GOOD.jv(np.ones((2, 4, 4))),
        "v has shape (2, 4, 4); expected (1, 4, 4), or rows (16,), or k >= 1 of either",
    ),
    "no v": (lambda: GOOD.vj(np.ones((0, 16))), "v has shape (0, 16); expected"),
    "v of nan": (lambda: GOOD.symmetric(np.full(16, np.nan)), "v is nan at index [0]; expected"),
    "v of inf": (lambda: GOOD.jv(Y * np.inf), "v contains nan or inf; expected finite values"),
    "v of words": (lambda: GOOD.jv(["a"] * 16), "v is not an array of numbers"),
    "k of zero": (lambda: GOOD.svd(0, rng=RNG), "k is 0; expected an integer of at least 1 and at"),
    "k above d": (lambda: GOOD.eigh(17, rng=RNG), "k is 17; expected"),
    "tol below zero": (lambda: GOOD.svd(1, tol=-1.0, rng=RNG), "tol is -1.0; expected"),
    "tol of nan": (lambda: GOOD.eigh(1, tol=np.nan, rng=RNG), "tol is nan; expected"),
    "block of zero": (lambda: GOOD.svd(1, block=0, rng=RNG), "block is 0; expected"),
    "block above d": (lambda: GOOD.eigh(1, block=17, rng=RNG), "block is 17; expected"),
    "budget below 2k": (
        lambda: GOOD.svd(2, max_products=3, rng=RNG),
        "max_products is 3; expected an integer of at least 4",
    ),
    "svd with half a seed": (lambda: GOOD.svd(1, rng=0.5), "rng is 0.5; expected a numpy.random"),
    "eigh with a text": (lambda: GOOD.eigh(1, rng="0"), "rng is '0'; expected"),
    "one probe": (
        lambda: GOOD.trace(1, rng=RNG),
        "n_probes is 1; expected an integer of at",
    ),
    "probes with a negative seed": (lambda: GOOD.asymmetry(4, rng=-1), "rng is -1; expected"),
    "a step of zero": (
        lambda: finite_difference(DOUBLE, Y, SIGMA, Y, step=0.0),
        "step is 0.0; expected a finite number > 0",
    ),
    "a chunk of zero": (lambda: finite_difference(DOUBLE, Y, SIGMA, Y, chunk=0), "chunk is 0"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_input_is_named_with_what_was_expected(case):
    call, message = WRONG[case]
    with pytest.raises(ValueError, match=re.escape(message)):
        call()


@pytest.mark.parametrize("quantity", ["trace", "asymmetry"])
def test_the_standard_error_is_the_spread_over_repetitions(quantity):
    # the skew part lies in one plane, so that few probes see most of it
    matrix = np.diag([3.0, 1.0, 1.0, 1.0]) + np.outer([0, 0, 0, 4.0], [1.0, 0, 0, 0])
    matrix[:2, :2] += 2.0
    j = Jacobian(matrix_denoiser(matrix), torch.zeros(4, dtype=torch.float64), SIGMA)
    n_probes = 2 if quantity == "trace" else 200  # few, where n - 1 differs from n
    draws = [getattr(j, quantity)(n_probes, rng=k) for k in range(400)]
    values, errors = np.array(draws).T
    # 400 squares of standard errors, heavy at two probes: their mean is good to about 10 %
    assert (errors**2).mean() / values.var(ddof=1) == pytest.approx(1, abs=0.3)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_accuracy_of_singular_vectors_does_not_depend_on_the_unit(scale, rng):
    values = scale * 0.8 ** np.arange(40)
    j = Jacobian(
        matrix_denoiser(with_values(values, rng)[0]), torch.zeros(40, dtype=torch.float64), SIGMA
    )
    found = j.svd(3, tol=1e-6, rng=rng)
    np.testing.assert_allclose(found.singular_values, values[:3], rtol=1e-9)
    assert found.converged and found.residuals.max() <= 1e-6
    assert found.products < 2 * 40


def test_the_default_step_of_differences_balances_rounding_and_curvature():
    y, sigma = image((1, 4, 4)), 0.1
    step = (np.finfo(float).eps * float(y.norm()) * sigma**2) ** (1 / 3)
    v, options = np.ones((1, 4, 4)), {"step": step}
    default, stated = (finite_difference(DOUBLE, y, sigma, v, **o) for o in ({}, options))
    np.testing.assert_array_equal(default, stated)


# ---------------------------------------------------------------- graphs that are not the denoiser


def smooth(y):
    """A non-linear denoiser of vectors."""
    matrix = torch.linspace(0.2, 0.9, y.shape[-1], dtype=y.dtype)
    return matrix * torch.tanh(y)


def energy(y, create_graph):
    """y less the gradient of an energy, which is lost without create_graph."""
    leaf = y if y.requires_grad else y.detach().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad((leaf**4).sum() / 8, leaf, create_graph=create_graph)
    return y - slope


CUT = {
    "data": lambda y, s: y - s * smooth(y.data),
    "detach": lambda y, s: y + smooth(y.detach()),
    "detach of a half": lambda y, s: smooth(y) + 0.5 * torch.sin(y.detach()),
    "detach that turns": lambda y, s: smooth(y) + y.detach().flip(-1),
    "no_grad": lambda y, s: 0.5 * y + torch.no_grad()(smooth)(y),
    "energy": lambda y, s: energy(y, create_graph=False),
    "straight through": lambda y, s: y + (y.round() - y).detach(),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", CUT)
def test_a_graph_that_is_cut_is_refused(name, dtype):
    y = image((30,)).to(dtype)
    if name == "straight through":  # the derivative that is meant is not that of the function
        y = y * 100
    with pytest.raises(ValueError, match=r"derivative in torch's graph.*check=False"):
        Jacobian(CUT[name], y, SIGMA)
    assert Jacobian(CUT[name], y, SIGMA, check=False).dim == 30


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("scale", [1e-6, 1e-2, 1.0, 1e3])
def test_a_whole_graph_passes_at_every_scale(scale, dtype):
    def denoiser(y, sigma):
        return scale * smooth(y / scale)

    y = (scale * image((30,))).to(dtype)
    exact = torch.func.jacrev(lambda x: denoiser(x[None], 1.0)[0])(y).double().numpy()
    jacobian = Jacobian(denoiser, y, scale)
    np.testing.assert_allclose(jacobian.dense(), exact, atol=1e-6)
    np.testing.assert_allclose(jacobian.jv(np.eye(30)).T, exact, atol=1e-6)
    whole = Jacobian(lambda y, s: energy(y, create_graph=True), image((30,)).to(dtype), SIGMA)
    assert whole.dim == 30


@pytest.mark.parametrize("half", [torch.bfloat16, torch.float16])
def test_low_precision_inside_is_not_taken_for_a_cut(half):
    def denoiser(y, sigma):
        return (0.5 * torch.tanh(y.to(half))).to(y.dtype)

    for seed in range(5):
        y = torch.randn(64, generator=torch.Generator().manual_seed(seed))
        assert Jacobian(denoiser, y, SIGMA).jv(y).shape == (64,)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_cut_at_a_few_pixels_is_seen_before_a_decomposition(dtype):
    cut = torch.arange(100) % 20 == 7  # 5 of 100 pixels

    def denoiser(y, sigma):
        return 0.3 * y + smooth(torch.where(cut, y.detach(), y))

    for seed in range(5):
        y = image((100,), dtype, seed)
        jacobian = Jacobian(denoiser, y, SIGMA)
        for method, argument in (("jv", y), ("eigh", 1), ("asymmetry", 2)):
            with pytest.raises(ValueError, match=r"derivative in torch's graph.*check=False"):
                getattr(jacobian, method)(argument)
        Jacobian(denoiser, y, SIGMA, check=False).jv(y)


def test_the_kinks_of_a_network_are_not_taken_for_a_cut():
    torch.manual_seed(0)
    layers = [nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 64)]
    model = nn.Sequential(*layers).requires_grad_(False)
    for sigma in (0.01, 0.1, 1.0, 10.0):
        for seed in range(5):
            y = max(sigma, 0.3) * image((64,), torch.float32, seed)
            Jacobian(lambda y, sigma: model(y), y, sigma).jv(y)


# For a product of length 1: errors of central differences of the usual step, of four and of 1/16,
# and of rounding; they point the same way unless a minus says otherwise.
VERDICTS = {
    "the usual step agrees": ((0.04, 0.051, 0.04), 0.0, True),
    "rounding explains the usual step": ((0.5, 0.62, 0.5), 0.6, True),
    "the large step agrees": ((0.06, 0.049, 0.06), 0.0, True),
    "rounding explains the large step": ((0.5, 0.4, 0.5), 0.45, True),
    "two steps disagree with each other": ((0.5, -0.5, 0.5), 0.0, True),
    "the small step agrees": ((0.5, 0.5, 0.2), 0.0, True),
    "all say the same": ((0.5, 0.5, 0.5), 0.0, False),
    "nearly the same": ((0.5, 0.4, 0.3), 0.0, False),
}


@pytest.mark.parametrize(("errors", "rounding", "passes"), VERDICTS.values(), ids=list(VERDICTS))
def test_a_graph_is_refused_only_if_all_differences_say_so(errors, rounding, passes):
    product, off = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    usual, *others = (product + error * off for error in errors)
    along = dict(zip((4, 1 / 16), others, strict=True)).__getitem__
    found = _graph.Differences(product, usual, along, rounding)
    if passes:
        _graph.require_same(product, found)
    else:
        with pytest.raises(ValueError, match="off by 45 %"):  # 0.5 of the length 1.12
            _graph.require_same(product, found)


# ---------------------------------------------------------------- other people's bug reports


@pytest.mark.parametrize("old", [False, True], ids=["parametrization", "hook"])
def test_a_spectral_norm_in_training_mode_is_refused_before_it_changes(old):
    norm = nn.utils.spectral_norm if old else nn.utils.parametrizations.spectral_norm
    net = norm(nn.Linear(8, 8)).double().train()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    for attempt in (Jacobian, lambda *a: finite_difference(*a, np.ones(8))):
        with pytest.raises(ValueError, match="training mode"):
            attempt(lambda y, sigma: net(y), image((8,)), SIGMA)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    assert Jacobian(lambda y, sigma: net.eval()(y), image((8,)), SIGMA).dim == 8


def test_a_module_that_counts_its_calls_is_refused_in_training_mode():
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))

        def forward(self, y):
            self.calls += self.training
            return y / 2

    net = Counts().train()
    with pytest.raises(ValueError, match="Counts in training mode"):
        Jacobian(lambda y, sigma: net(y), image((4,)), SIGMA)
    assert net.calls == 0


def test_complex_vectors_are_refused():
    jacobian = Jacobian(lambda y, sigma: y / 2, image((3,)), SIGMA)
    v = torch.ones(3) * (1 + 1j)
    for attempt in (jacobian.jv, jacobian.vj, jacobian.symmetric):
        with pytest.raises(ValueError, match="v is complex"):
            attempt(v)
    with pytest.raises(ValueError, match="v is complex"):
        finite_difference(lambda y, sigma: y / 2, image((3,)), SIGMA, v)


@pytest.mark.parametrize("step", [1e-12, 1e-9])
def test_a_step_below_the_spacing_of_numbers_is_refused(step):
    with pytest.raises(ValueError, match="float32 cannot resolve"):
        finite_difference(lambda y, s: y / 2, torch.ones(3), 1.0, torch.ones(3), step=step)
    y = torch.ones(3)
    found = finite_difference(lambda y, s: y / 2, y, 1.0, torch.ones(3), step=1e-3)
    np.testing.assert_allclose(found, 0.5, rtol=1e-3)


def test_a_backward_pass_for_one_vector_at_a_time_is_given_one():
    class Half(torch.autograd.Function):
        @staticmethod
        def forward(ctx, y):
            return y / 2

        @staticmethod
        def backward(ctx, grad):
            return Turn.apply(grad)

    class Turn(torch.autograd.Function):
        @staticmethod
        def forward(ctx, grad):
            if torch._C._functorch.is_batchedtensor(grad):
                raise RuntimeError("this backward pass takes no batch")
            return grad / 2

        @staticmethod
        def backward(ctx, grad):
            return grad / 2

    jacobian = Jacobian(lambda y, sigma: Half.apply(y), image((5,)), SIGMA)
    np.testing.assert_allclose(jacobian.vj(np.eye(5)), np.eye(5) / 2)
    np.testing.assert_allclose(jacobian.dense(), np.eye(5) / 2)


# ---------------------------------------------------------------- memory


def allocated(action):
    """Largest and last sum of what torch's own profiler sees allocated in an action, in bytes."""
    with torch.profiler.profile(profile_memory=True) as profile:
        action()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    sums = np.cumsum([e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())])
    return sums.max(), sums[-1]


@pytest.mark.parametrize("middle", ["convolutional", "fused attention", "encoder layer"])
def test_the_memory_counted_is_what_torch_allocates(middle):
    model, y = network(middle, torch.float32), image(dtype=torch.float32)
    model.requires_grad_(middle != "convolutional")  # weights do not count whether or not they ask
    made = []
    _, graph = allocated(lambda: made.append(Jacobian(model, y, SIGMA, chunk=8, check=False)))
    (jacobian,) = made
    _, both = allocated(lambda: jacobian._adjoint)
    memory = jacobian.memory()
    assert memory.graph == pytest.approx(graph, rel=0.2)
    assert memory.adjoint == pytest.approx(graph + both, rel=0.2)
    v = np.random.default_rng(0).standard_normal((8, 64))
    jacobian.symmetric(v)
    most = max(allocated(lambda: jacobian.vj(v))[0], allocated(lambda: jacobian.jv(v))[0])
    assert 0.5 < most / 8 / memory.vector < 2


def test_the_memory_of_a_constant_derivative_is_nearly_nothing():
    memory = Jacobian(lambda y, sigma: y / 2, image((1000,)), SIGMA).memory()
    assert memory.adjoint < 100
    assert 8000 <= memory.vector <= 32000


def test_a_derivative_that_is_zero_up_to_rounding_is_not_taken_for_a_cut():
    # Two points ten noise levels apart: at one of them the posterior is that point, and J is 1e-20.
    law = EmpiricalBayes(np.array([[0.0, 0.0], [6.0, 8.0]]))
    jacobian = Jacobian(law, torch.zeros(2, dtype=torch.float64), 1.0)
    v = torch.tensor([0.6, 0.8], dtype=torch.float64)
    exact = v.numpy() @ law.jacobian(np.zeros(2), 1.0) @ v.numpy()
    assert exact < 1e-18
    assert float(v @ jacobian.jv(v)) == pytest.approx(exact, rel=1e-6)


def test_a_steep_place_is_not_taken_for_a_cut():
    # Along one direction the denoiser rises by one over a hundredth of the noise level: a central
    # difference of the usual step in single precision sees a tenth of the derivative.
    v = torch.zeros(1, 8, 8)
    v[0, 3, 4] = 1.0

    def steep(y, sigma):
        return y / (1 + sigma**2) + torch.tanh(50 * (y * v).sum(dim=(1, 2, 3), keepdim=True)) * v

    y = torch.randn(1, 8, 8, generator=torch.Generator().manual_seed(0)) * (1 - v)
    jacobian = Jacobian(steep, y, 10.0)
    assert float((v * jacobian.jv(v)).sum()) == pytest.approx(50, rel=1e-3)
    with pytest.raises(ValueError, match="not that of the denoiser"):
        Jacobian(lambda y, s: steep(y, s) + y.detach(), y, 10.0)
