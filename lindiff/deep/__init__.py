"""Deep denoisers: networks, their training, checkpoints that come along, and their Jacobians.

Everything below can be imported from here.
"""

from lindiff import _check

_check.optional("torch", "deep")  # the one place that says how to get it

from lindiff.deep.adapters import from_diffusers  # noqa: E402
from lindiff.deep.checkpoints import load, read_checkpoint, write_checkpoint  # noqa: E402
from lindiff.deep.jacobian import Jacobian, finite_difference  # noqa: E402
from lindiff.deep.networks import Config, Rows, UNet, precondition  # noqa: E402
from lindiff.deep.schedulers import SchedulerSampler  # noqa: E402
from lindiff.deep.training import draw_batch, train, weighted_loss  # noqa: E402
from lindiff.deep.trajectories import follow  # noqa: E402
from lindiff.deep.transformer import Transformer, TransformerConfig  # noqa: E402

__all__ = [
    "Config",
    "Jacobian",
    "Rows",
    "SchedulerSampler",
    "Transformer",
    "TransformerConfig",
    "UNet",
    "draw_batch",
    "finite_difference",
    "follow",
    "from_diffusers",
    "load",
    "precondition",
    "read_checkpoint",
    "train",
    "weighted_loss",
    "write_checkpoint",
]
