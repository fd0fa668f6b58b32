"""What products with the Jacobian of a large network cost: time and memory of a U-Net for CIFAR-10.

    python tests/benchmarks/large_unet.py

The network has the form of the usual one for CIFAR-10 [Ho, Jain, Abbeel 2020] in diffusers, with
random weights: what is measured does not depend on them. Chapter 14 shows what this prints, on one
core of a CPU in single precision. Part of `make bench`; no test runs it (two minutes, 2 GB).
"""

import platform
import time
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch
from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

from lindiff.deep.adapters import from_diffusers
from lindiff.deep.jacobian import Jacobian

SIGMA, ROUNDS, BLOCK = 1.0, 7, 8
MB = 1e6


def unet():
    """The network of the model google/ddpm-cifar10-32, without its weights."""
    torch.manual_seed(0)
    return UNet2DModel(
        sample_size=32,
        in_channels=3,
        out_channels=3,
        center_input_sample=False,
        freq_shift=1,
        flip_sin_to_cos=False,
        downsample_padding=0,
        block_out_channels=(128, 256, 256, 256),
        layers_per_block=2,
        down_block_types=("DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=None,
        norm_eps=1e-6,
    )


def processor():
    """The name that the system gives its processor."""
    known = Path("/proc/cpuinfo")
    if known.exists():
        for line in known.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor() or platform.machine()


def seconds(call):
    """CPU time of one call: the median of some, after one that is not counted."""
    call()
    clocks = []
    for _ in range(ROUNDS):
        start = time.process_time()
        call()
        clocks.append(time.process_time() - start)
    return float(np.median(clocks))


def count_calls(denoiser, y):
    """Make a Jacobian; return it, with how often it called the denoiser for its test."""
    calls = []

    def counted(y, sigma):
        calls.append(len(y))
        return denoiser(y, sigma)

    return Jacobian(counted, y, SIGMA), sum(calls)


def main():
    """Print all numbers, one a line."""
    torch.set_num_threads(1)
    network = unet()
    weights = list(network.parameters())
    denoiser = from_diffusers(DDPMPipeline(network, DDPMScheduler()))
    draws = torch.Generator().manual_seed(1)
    y = torch.randn(3, 32, 32, generator=draws)
    v = torch.randn(BLOCK, 3, 32, 32, generator=draws)

    def call():
        with torch.no_grad():
            return denoiser(y[None], SIGMA)

    print(f"weights: {sum(p.numel() for p in weights):,}")
    print(f"bytes of the weights: {sum(p.nbytes for p in weights) / MB:.0f} MB")
    print(f"one call: {seconds(call):.2f} s")
    start = time.process_time()
    jacobian, calls = count_calls(denoiser, y)
    print(f"Jacobian: {time.process_time() - start:.1f} s, images passed through: {calls}")
    start = time.process_time()
    need = jacobian.memory()
    print(f"memory(), with the graph of the adjoint: {time.process_time() - start:.1f} s")
    print(f"product with the transpose: {seconds(lambda: jacobian.vj(v[:1])):.2f} s")
    print(f"product with J: {seconds(lambda: jacobian.jv(v[:1])):.2f} s")
    print(f"each of {BLOCK} with the transpose: {seconds(lambda: jacobian.vj(v)) / BLOCK:.2f} s")
    print(f"each of {BLOCK} with J: {seconds(lambda: jacobian.jv(v)) / BLOCK:.2f} s")
    print(f"kept for products with the transpose: {need.graph / MB:.0f} MB")
    print(f"kept for products with both: {need.adjoint / MB:.0f} MB")
    print(f"for each vector of a chunk: {need.vector / MB:.1f} MB")

    def any_size(y, sigma):
        s = (1 + sigma**2) ** 0.5
        return y - sigma * denoiser.unet(y / s, 250).sample

    for side in (16, 32, 64):
        other = torch.randn(3, side, side, generator=draws)
        found = Jacobian(any_size, other, SIGMA, check=False).memory()
        print(
            f"memory at {side} x {side}: {found.graph / MB:.0f}, {found.adjoint / MB:.0f}, "
            f"{found.vector / MB:.1f} MB"
        )
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "diffusers"))
    print(f"{processor()}, one core, Python {platform.python_version()}, {packages}")


if __name__ == "__main__":
    main()
