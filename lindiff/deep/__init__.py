"""Deep denoisers: networks, their training, bundled checkpoints, and their Jacobians.

Everything below can be imported from here.
"""

from lindiff import _check

_check.optional("torch", "deep")  # the one place that says how to get it

from lindiff.deep.adapters import from_diffusers  # noqa: E402
from lindiff.deep.checkpoints import load, read_checkpoint, write_checkpoint  # noqa: E402
from lindiff.deep.jacobian import Jacobian, finite_difference  # noqa: E402
from lindiff.deep.networks import Config, Rows, UNet, precondition  # noqa: E402
from lindiff.deep.parametrisations import (  # noqa: E402
    from_edm,
    from_flow_matching,
    from_score,
)
from lindiff.deep.patches import (  # noqa: E402
    Mixer,
    MixerConfig,
    Transformer,
    TransformerConfig,
)
from lindiff.deep.records import read_trajectory, write_trajectory  # noqa: E402
from lindiff.deep.schedulers import SchedulerSampler  # noqa: E402
from lindiff.deep.training import draw_batch, train, weighted_loss  # noqa: E402
from lindiff.deep.trajectories import align, follow, measure  # noqa: E402

__all__ = [
    "Config",
    "Jacobian",
    "Mixer",
    "MixerConfig",
    "Rows",
    "SchedulerSampler",
    "Transformer",
    "TransformerConfig",
    "UNet",
    "align",
    "draw_batch",
    "finite_difference",
    "follow",
    "from_diffusers",
    "from_edm",
    "from_flow_matching",
    "from_score",
    "load",
    "measure",
    "precondition",
    "read_checkpoint",
    "read_trajectory",
    "train",
    "weighted_loss",
    "write_checkpoint",
    "write_trajectory",
]
