"""Leading singular triplets of an operator that is known by its products."""

import numpy as np

from lindiff.alignment import fixed_signs
from lindiff.power import _krylov_spaces

# J.T J and (J + J.T)/2 are symmetric but for rounding, which is up to 4e-3 in an operation that
# bfloat16 does, 5e-4 in TF32: room for some ten of them. The residuals tell what is left.
ROUNDING = (
    5e-2,
    "it is symmetric by construction, so a backward pass inside the denoiser is wrong, or computes "
    "in too low a precision: make it float32",
)


def leading(jv, vj, dim, k, *, block, tol, floor, budget, rng):
    """Return (values, left, right, residuals, products) by block Krylov on J.T J.

    `jv` and `vj` map rows (n, d) to rows; `floor` is the rounding of a product, relative to the
    largest value; `budget` counts pairs of products.
    """
    images_left = []

    def gram(rows):
        images_left.append(jv(rows))
        return vj(images_left[-1])

    for square, mix, basis, images in _krylov_spaces(gram, k, dim, block, budget, rng, *ROUNDING):
        values = np.sqrt(np.maximum(square, 0))
        gaps = np.linalg.norm(mix @ images - square[:, None] * (mix @ basis), axis=1)
        # |J.T left - value right| is gap / value; squares do not resolve values near the floor
        enough = values[0] * np.maximum(tol * values, floor * values[0])
        if len(mix) == k and (gaps <= enough).all():
            break
    # J maps the Ritz vectors to orthogonal rows; their SVD is accurate where squares are not.
    turn, values, left = np.linalg.svd(mix @ np.vstack(images_left), full_matrices=False)
    mix, products = turn.T @ mix, 2 * len(basis)
    right, pulled = mix @ basis, mix @ images
    tiny = tol * values <= floor * values[0]
    pulled[~tiny] /= values[~tiny, None]
    if tiny.any():
        pulled[tiny] = vj(left[tiny])
        products += int(tiny.sum())
    residuals = np.linalg.norm(pulled - values[:, None] * right, axis=1)
    turned = fixed_signs(right)
    signs = np.where((turned * right).sum(axis=1, keepdims=True) < 0, -1.0, 1.0)
    return values, signs * left, turned, residuals, products
