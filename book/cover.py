"""Draw the picture of the first page and of the README: `make cover`.

Noise becomes a digit under the exact denoiser of a mixture of ten Gaussians (one per class), and
below it the share of each principal component of the noisy data that is signal.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from lindiff.book import plots
from lindiff.data import mnist
from lindiff.denoisers import wiener
from lindiff.gaussian import Gaussian
from lindiff.mixtures import GaussianMixture
from lindiff.samplers import sample
from lindiff.schedules import geometric, to_vp

SHOWN = range(3, 54, 6)  # on a geometric schedule: in line with the axis below


def main():
    x, label = mnist()
    mixture = GaussianMixture(
        np.full(10, 0.1), [Gaussian.fit(x[label == k], 60) for k in range(10)]
    )
    rng = np.random.default_rng(3)
    sigmas = geometric(55, 0.02, 20.0)
    states = list(sample(mixture, sigmas[0] * rng.standard_normal((1, 784)), sigmas))
    lam = Gaussian.fit(x).eigenvalues

    plots.use_style()
    figure, axes = plt.subplots(
        3, 1, figsize=(8, 4.9), height_ratios=(1, 1, 2.2), gridspec_kw={"hspace": 0.06}
    )
    for ax, rows, name in (
        (axes[0], [to_vp(states[t].x[0], states[t].sigma) for t in SHOWN], "state"),
        (axes[1], [states[t].denoised[0] for t in SHOWN], "best guess"),
    ):
        scaled = [(r - r.min()) / np.ptp(r) for r in rows]
        strip = np.hstack([np.pad(r.reshape(28, 28), 1, constant_values=1) for r in scaled])
        ax.imshow(strip, aspect="auto")
        ax.set(xticks=[], yticks=[14], yticklabels=[name])
        ax.tick_params(length=0)
        ax.spines[:].set_visible(False)
        ax.grid(False)
    axis = np.geomspace(20, 0.02, 300)
    gains = np.array([wiener(lam, s) for s in axis])
    for k, i in enumerate((0, 4, 19, 79, 299)):
        axes[2].plot(axis, gains[:, i], **plots.mode(k), label=f"component {i + 1}")
    axes[2].set(
        xscale="log", xlim=(20, 0.02), xlabel=r"noise level $\sigma$, from noise to data",
        ylabel="share that is signal",
    )  # fmt: skip
    axes[2].legend(loc="upper left")
    figure.savefig(Path(__file__).parent / "_static" / "cover.png", dpi=110)


if __name__ == "__main__":
    main()
