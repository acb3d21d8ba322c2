"""A network that is asked for the same images again, by one model after another.

DMS has one denoiser for all models, and the noise of an image is the same for all of them.  It
remembers by content; it must not know what an image, a noise level or a model is.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor, nn

from defenses.recent import MEMORY, Recent, content


class Remembered(nn.Module):
    """``network(x, *rest)``, looked up where ``x`` and the rest were given before.

    Only for a network in evaluation mode on a CPU, and never where a gradient is asked for: all
    others are passed through.

    >>> twice = Remembered(nn.Identity())
    >>> _ = twice.eval()
    >>> with torch.no_grad():
    ...     bool(twice(torch.ones(1)) == 1), len(twice.recent.known)
    (True, 1)
    """

    def __init__(self, network: nn.Module, *, memory: int = MEMORY) -> None:
        """Remember results of ``network`` up to ``memory`` bytes."""
        super().__init__()
        self.network = network
        self.recent = Recent(memory)

    def forward(self, x: Tensor, *rest: float) -> Tensor:
        """The network's result, the same bits whether it is remembered or not."""
        if x.device.type != "cpu" or torch.is_grad_enabled() or self.network.training:
            fresh: Tensor = self.network(x, *rest)
            return fresh
        key = (content(x.numpy()), x.stride(), rest)
        return self.recent(key, partial(self.network, x, *rest))
