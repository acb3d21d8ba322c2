"""What is done to a network around its training: a common start, normalisation, its scale.

It must not know losses or data.
"""

from __future__ import annotations

from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from iqa_models.base import IQAModel

Block = tuple[nn.Conv2d, nn.BatchNorm2d]


def normalise(model: nn.Module) -> None:
    """Put batch normalisation behind every convolution that a ReLU follows."""
    for block in [part for part in model.modules() if isinstance(part, nn.Sequential)]:
        for (name, layer), (_, following) in pairwise(list(block.named_children())):
            if isinstance(layer, nn.Conv2d) and isinstance(following, nn.ReLU):
                norm = nn.BatchNorm2d(layer.out_channels)
                block.add_module(name, nn.Sequential(layer, norm))


def fold(model: nn.Module) -> None:
    """Undo :func:`normalise`: the convolutions take the constants over, the function stays."""
    for block in [part for part in model.modules() if isinstance(part, nn.Sequential)]:
        for name, layer in list(block.named_children()):
            match list(layer.children()):
                case [nn.Conv2d() as convolution, nn.BatchNorm2d() as norm]:
                    block.add_module(name, fuse_conv_bn_eval(convolution, norm))


def blocks(model: nn.Module) -> list[Block]:
    """Convolutions followed by batch normalisation, in order."""
    found: list[Block] = []
    for part in model.modules():
        inner = list(part.children()) if isinstance(part, nn.Sequential) else []
        match inner:
            case [nn.Conv2d() as convolution, nn.BatchNorm2d() as norm]:
                found.append((convolution, norm))
    return found


def transplant(source: nn.Module, target: nn.Module) -> None:
    """Copy the source's trunk into every trunk of the target, as deep as the shapes agree."""
    donors, depth = blocks(source), -1
    for block in blocks(target):
        depth = 0 if block[0].in_channels == 3 else depth + (depth >= 0)
        if not 0 <= depth < len(donors) or donors[depth][0].weight.shape != block[0].weight.shape:
            depth = -1
            continue
        for receiver, donor in zip(block, donors[depth], strict=True):
            receiver.load_state_dict(donor.state_dict())


SCALES = {
    "dbcnn": (-0.5, ("fc",)),
    "hyperiqa": (-0.5, ("fc_w_modules.3.2", "fc_b_modules.3.2")),
    "koncept": (0.0, ("fc.12",)),
}
"""Quality put at the lower end of the declared range, and the layers the score is linear in."""


def stretch(model: IQAModel) -> None:
    """Move a head from the unit scale it is trained on into its declared range.

    Strong noise is worse than anything among the labels, and scores that all sit on the clamp
    could not be ranked: hence the room at the lower end.
    """
    if model.card.name not in SCALES:
        return
    low, layers = SCALES[model.card.name]
    scale = model.card.score_range[1] / (1 - low)
    for layer in layers:
        for parameter in model.get_submodule(layer).parameters():
            parameter.data *= scale
    model.get_parameter(f"{layers[-1]}.bias").data -= low * scale
