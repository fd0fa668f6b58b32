r"""Schedulers of diffusers as samplers, to test them against an exact law.

A scheduler keeps its state in one of two coordinates: variance-preserving, where its levels are
those of ``alphas_cumprod``, or variance-exploding, where it divides the model's input by
:math:`\sqrt{1+\sigma^2}` itself.
"""

from typing import Any

import numpy as np
import torch

from lindiff import _check


class SchedulerSampler:
    r"""The loop around a scheduler of diffusers, for :func:`lindiff.testing.sampler_report`.

    The loop is that of the documentation of diffusers: ``set_timesteps``, then at each time
    ``scale_model_input``, the model, and ``step``. The model's estimate is turned into what the
    scheduler's ``prediction_type`` asks for.

    Parameters
    ----------
    scheduler : diffusers.SchedulerMixin
        With ``clip_sample=False`` and ``thresholding=False``: clipping is not linear.
    n_steps : int
        Number of inference steps.
    **settings
        Passed to ``scheduler.step``, such as ``eta`` or ``generator``.

    Attributes
    ----------
    sigmas : ndarray
        Levels that the scheduler visits, each once, the last one included.
    coordinates : str
        "ve" or "vp", the coordinates of its state.

    Raises
    ------
    ValueError
        If the scheduler has no ``alphas_cumprod``, or calls the model between its levels.

    Examples
    --------
    >>> import diffusers, torch
    >>> from lindiff.testing import sampler_report
    >>> sample = SchedulerSampler(diffusers.DDIMScheduler(clip_sample=False), 10)
    >>> settings = {"coordinates": sample.coordinates, "like": torch.empty(0, 6)}
    >>> sampler_report(sample, sample.sigmas, **settings).agrees
    True
    """

    def __init__(self, scheduler: Any, n_steps: int, **settings: Any) -> None:
        if not hasattr(scheduler, "alphas_cumprod") or hasattr(scheduler, "sigmas_interpol"):
            raise ValueError(
                f"scheduler is a {type(scheduler).__name__}; expected one with alphas_cumprod "
                "that calls the model at its own levels only"
            )
        n_steps = _check.integer("n_steps", n_steps, 1)
        self.scheduler, self.n_steps, self.settings = scheduler, n_steps, settings
        scheduler.set_timesteps(n_steps)
        one = scheduler.alphas_cumprod.new_ones(())
        self.coordinates = "vp"
        if float(scheduler.scale_model_input(one, scheduler.timesteps[0])) != 1.0:
            self.coordinates = "ve"
        self.sigmas = self._levels()[0]

    def _levels(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the levels without repetition, and the level of each call of the model."""
        if hasattr(self.scheduler, "sigmas"):
            levels = np.asarray(self.scheduler.sigmas.double().cpu())
            calls = levels[: len(self.scheduler.timesteps)]
        else:
            times = self.scheduler.timesteps.cpu().long()
            signal = np.asarray(self.scheduler.alphas_cumprod.double().cpu())
            calls = np.sqrt((1 - signal) / signal)[times]
            # DDPM has no other last signal than that of clean data
            last = float(getattr(self.scheduler, "final_alpha_cumprod", 1.0))
            levels = np.append(calls, np.sqrt((1 - last) / last))
        return levels[np.append(True, np.diff(levels) != 0)], calls

    def __call__(self, start: Any, model: Any) -> Any:
        """Run the loop on a start; the model predicts the clean x in these coordinates."""
        if not isinstance(start, torch.Tensor):
            raise ValueError(
                f"start is of type {type(start).__name__}; expected a tensor: ask sampler_report "
                "for it by like=torch.empty(0, 6)"
            )
        self.scheduler.set_timesteps(self.n_steps)
        x, calls = start, self._levels()[1].tolist()
        for time, sigma in zip(self.scheduler.timesteps, calls, strict=True):
            seen = self.scheduler.scale_model_input(x, time)
            output = self._output(seen, model, sigma)
            x = self.scheduler.step(output, time, x, **self.settings).prev_sample
        return x

    def _output(self, seen: Any, model: Any, sigma: float) -> Any:
        """What the network would have said, to an input that it expects variance-preserving."""
        root = (1 + sigma**2) ** 0.5
        noisy = root * seen
        clean = model(noisy if self.coordinates == "ve" else seen, sigma)
        epsilon = (noisy - clean) / sigma
        outputs = {
            "sample": lambda: clean,
            "epsilon": lambda: epsilon,
            "v_prediction": lambda: (epsilon - sigma * clean) / root,
        }
        return outputs[self.scheduler.config.prediction_type]()
