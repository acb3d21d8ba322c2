"""Retrain every compact model: ``python -m bench.compact_training``.

The networks see crops of the *training* photographs only.  One of these photographs is held out
to choose the epoch; the test photographs are looked at once, at the end, for the numbers in
``provenance.json``.  Nothing but KADID-10k's distortions, flips and exchanged colour channels is
shown to the networks: an undefended model gets no training against noise.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from importlib.metadata import version
from itertools import pairwise, product
from pathlib import Path

import joblib
import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import pearsonr, spearmanr
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from bench.compact_pretraining import Curriculum, naming_loss, transplant, whiten
from bench.datasets.base import ImageError, Item
from bench.datasets.embedded import EmbeddedDataset, Recipe, embedded
from bench.datasets.photographs import CROPS, Crop, take
from iqa_models.base import IQAModel
from iqa_models.dists import DISTS
from iqa_models.dreamsim import DreamSim
from iqa_models.koncept import KonCept
from iqa_models.lpips import LPIPS
from iqa_models.registry import names, plugin
from iqa_models.trunks import frozen
from iqa_models.weights import save_state

log = logging.getLogger(__name__)

CELLS = 125
"""Distorted images of each reference, 25 types by 5 levels."""

EXTRA_SIDES = (130, 230)
"""Further scales at which the training photographs are cropped."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a compact model is trained.

    Attributes:
        seed: of initial weights, order and augmentation.
        first_epochs: passes over all training images by the common trunk.
        epochs: passes over all training images.
        references: references in a batch.
        siblings: distorted images of each reference in a batch.
        rate: greatest learning rate, of a one-cycle schedule.
        decay: weight decay.
        auxiliary: weight of the loss for naming distortion and level (NR models).
        held_out: training photographs that choose the epoch.
    """

    seed: int = 20240
    first_epochs: int = 10
    epochs: int = 3
    references: int = 4
    siblings: int = 8
    rate: float = 3e-3
    decay: float = 1e-4
    auxiliary: float = 0.3
    held_out: tuple[str, ...] = ("rocket",)


@dataclass(frozen=True, slots=True)
class Images:
    """Pixels and labels of some references.

    Attributes:
        references: (R, 3, H, W) 8-bit.
        distorted: (R, 125, 3, H, W) 8-bit.
        mos: (125,) mean opinion of every cell, 1..5, higher is better.
    """

    references: Tensor
    distorted: Tensor
    mos: Tensor


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a training reached; `mode` and `parameters` as a reader would ask for them."""

    sha256: str
    parameters: int
    epoch: int
    seconds: float
    validation_srcc: float
    test_srcc: float
    test_plcc: float
    settings: Settings


def training_crops() -> tuple[Crop, ...]:
    """The data set's own training crops and all cells of the extra scales."""
    own = [crop for crop in CROPS if crop.split == "train"]
    photographs = sorted({crop.photograph for crop in own})
    grid = product(photographs, EXTRA_SIDES, range(3), range(3))
    extra = [Crop(name, "train", side, row, column) for name, side, row, column in grid]
    return (*own, *(crop for crop in extra if _fits(crop)))


def _fits(crop: Crop) -> bool:
    try:
        take(crop, 96, 128)
    except ImageError:
        return False
    return True


def gather(dataset: EmbeddedDataset, items: Sequence[Item]) -> Images:
    """Pixels of items that are whole references, 125 items each, in order."""
    pairs = [dataset.load(item) for item in items]
    distorted = torch.stack([_bytes(pair.image) for pair in pairs])
    references = torch.stack(
        [_bytes(p.reference) for p in pairs[::CELLS] if p.reference is not None]
    )
    mos = torch.tensor([item.mos for item in items[:CELLS]], dtype=torch.float32)
    return Images(references, distorted.unflatten(0, (-1, CELLS)), mos)


def training_images(dataset: EmbeddedDataset, settings: Settings) -> Images:
    """All training images but those of the held-out photographs."""
    items = dataset.items("train")
    return gather(dataset, [item for item in items if item.group not in settings.held_out])


def _bytes(pixels: np.ndarray) -> Tensor:
    return torch.from_numpy((pixels * 255).round().astype(np.uint8))


def target_of(mos: Tensor, model: IQAModel) -> Tensor:
    """Opinion (1..5) on the unit scale, turned round for distances."""
    quality = (mos - 1) / 4
    return quality if model.card.higher_is_better else 1 - quality


def batches(images: Images, settings: Settings, epoch: int) -> Iterator[tuple[Tensor, ...]]:
    """One pass: (references, distorted, cell numbers, place of each image's reference)."""
    draw = torch.Generator().manual_seed(settings.seed * 1000 + epoch)
    groups = [
        (row, cells)
        for row in range(len(images.references))
        for cells in torch.randperm(CELLS, generator=draw).split(settings.siblings)
        if len(cells) == settings.siblings
    ]
    order = torch.randperm(len(groups), generator=draw).tolist()
    for start in range(0, len(order) - settings.references + 1, settings.references):
        chosen = [groups[index] for index in order[start : start + settings.references]]
        references, distorted = [], []
        for row, cells in chosen:
            flips = [axis for axis in (-1, -2) if torch.rand((), generator=draw) < 0.5]
            colours = torch.randperm(3, generator=draw)
            references.append(images.references[row][colours].flip(flips))
            distorted.append(images.distorted[row, cells][:, colours].flip(flips))
        cells = torch.cat([cells for _, cells in chosen])
        place = torch.arange(len(chosen)).repeat_interleave(settings.siblings)
        yield _floats(torch.stack(references)), _floats(torch.cat(distorted)), cells, place


def _floats(pixels: Tensor) -> Tensor:
    return (pixels / 255).contiguous(memory_format=torch.channels_last)  # faster convolutions


def loss_of(scores: Tensor, targets: Tensor) -> Tensor:
    """Huber loss on the unit scale plus one minus the linear correlation."""
    fit = F.huber_loss(scores, targets, delta=0.2)
    a, b = scores - scores.mean(), targets - targets.mean()
    return 10 * fit + 1 - (a * b).sum() / (a.norm() * b.norm() + 1e-6)


def train(
    model: IQAModel, start: nn.Module, images: Images, validation: Images, settings: Settings
) -> int:
    """Train in place, keep the epoch that is best on the validation photographs; return it."""
    targets = target_of(images.mos, model)
    width = features_of(model, *_probe(images)).shape[1]
    normalise(model)
    transplant(start, model)
    namer = nn.Linear(width, 30)
    parameters = [*model.requires_grad_(True).parameters(), *namer.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=settings.rate, weight_decay=settings.decay)
    steps = settings.epochs * sum(1 for _ in batches(images, settings, 0))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.rate, total_steps=steps)
    best, best_epoch, best_state = -1.0, 0, deepcopy(model.state_dict())
    for epoch in range(settings.epochs):
        model.train()
        for references, distorted, cells, place in batches(images, settings, epoch):
            features = features_of(model, references, distorted, place)
            loss = loss_of(model.head(features), targets[cells])
            if model.card.mode == "NR":
                loss = loss + settings.auxiliary * naming_loss(namer(whiten(features)), cells)
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimiser.step()
            schedule.step()
            constrain(model)
        srcc, _ = agreement(frozen(model), validation)
        log.info("%s epoch %d validation SRCC %.3f", model.card.name, epoch, srcc)
        model.requires_grad_(True)
        if srcc > best:
            best, best_epoch, best_state = srcc, epoch, deepcopy(model.state_dict())
    model.load_state_dict(best_state)
    fold(frozen(model))
    stretch(model)
    return best_epoch


def stretch(model: IQAModel) -> None:
    """KonCept's head answers on 0..100; it is trained on the unit scale, as all heads are."""
    if isinstance(model, KonCept):
        low, high = model.card.score_range
        for name in ("weight", "bias"):
            model.fc.get_submodule(str(len(model.fc) - 1)).get_parameter(name).data *= high - low


def features_of(model: IQAModel, references: Tensor, distorted: Tensor, place: Tensor) -> Tensor:
    """Features of a training batch; both sides of an FR model share their batch statistics."""
    if not isinstance(model, (LPIPS, DISTS, DreamSim)):
        return model.extract(distorted, None)
    encoded = model.encode_reference(torch.cat([distorted, references]))
    ours = tuple(part[: len(distorted)] for part in encoded)
    theirs = tuple(part[len(distorted) :][place] for part in encoded)
    return model.compare(ours, theirs)


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
            parts = list(layer.children())
            if len(parts) == 2 and isinstance(parts[1], nn.BatchNorm2d):
                block.add_module(name, fuse_conv_bn_eval(*parts))


def constrain(model: IQAModel) -> None:
    """Keep channel weights non-negative, as LPIPS and DISTS do."""
    for name, parameter in model.named_parameters():
        if name.startswith(("lin", "alpha", "beta")):
            parameter.data.clamp_(min=0.0)


def agreement(model: IQAModel, images: Images) -> tuple[float, float]:
    """SRCC and PLCC with the opinions, signed so that higher is better quality."""
    scores = []
    for reference, distorted in zip(images.references, images.distorted, strict=True):
        bound = model.bind(reference[None] / 255 if model.card.mode == "FR" else None)
        with torch.no_grad():
            scores.append(bound(distorted / 255))
    sign = 1 if model.card.higher_is_better else -1
    predicted = sign * torch.cat(scores).numpy()
    mos = images.mos.repeat(len(images.references)).numpy()
    return float(spearmanr(predicted, mos)[0]), float(pearsonr(predicted, mos)[0])


def _probe(images: Images) -> tuple[Tensor, Tensor, Tensor]:
    one = images.references[:1] / 255
    return one, one, torch.zeros(1, dtype=torch.long)


def pretrain(images: Images, settings: Settings) -> Curriculum:
    """The trunk that all models start from, with its batch normalisation."""
    torch.manual_seed(settings.seed)
    model = Curriculum()
    normalise(model.pairwise)
    quality = (images.mos - 1) / 4
    steps = settings.first_epochs * sum(1 for _ in batches(images, settings, 0))
    optimiser = torch.optim.AdamW(model.parameters(), lr=settings.rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.rate, total_steps=steps)
    for epoch in range(settings.first_epochs):
        losses = []
        for references, distorted, cells, place in batches(images, settings, 100 + epoch):
            distance, alone, pair_names, own_names = model.train()(references, distorted, place)
            parts = (
                loss_of(distance, 1 - quality[cells]),
                loss_of(alone / 100, quality[cells]),
                0.3 * naming_loss(pair_names, cells),
                0.3 * naming_loss(own_names, cells),
            )
            optimiser.zero_grad()
            torch.stack(parts).sum().backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            optimiser.step()
            schedule.step()
            constrain(model.pairwise)
            losses.append([float(part.detach()) for part in parts])
        log.info("trunk epoch %d losses %s", epoch, np.mean(losses, axis=0).round(3))
    return model


def produce(name: str, start: nn.Module, settings: Settings, folder: Path) -> Outcome:
    """Train one model on one thread, write its weights, measure it on the test photographs."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(settings.seed)
    started = time.perf_counter()
    own, more = embedded(), embedded(recipe=Recipe(crops=training_crops()))
    held = [item for item in own.items("train") if item.group in settings.held_out]
    validation = gather(own, held)
    model = plugin(name).architecture("compact")
    epoch = train(model, start, training_images(more, settings), validation, settings)
    srcc, plcc = agreement(model, gather(own, own.items("test")))
    return Outcome(
        sha256=save_state(model, folder / f"{name}.safetensors"),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        epoch=epoch,
        seconds=round(time.perf_counter() - started, 1),
        validation_srcc=round(agreement(model, validation)[0], 4),
        test_srcc=round(srcc, 4),
        test_plcc=round(plcc, 4),
        settings=settings,
    )


def main() -> None:
    """Command line: which models, how long, where to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", choices=names(), default=list(names()))
    parser.add_argument("--epochs", type=int, default=Settings().epochs)
    parser.add_argument("--first-epochs", type=int, default=Settings().first_epochs)
    parser.add_argument("--jobs", type=int, default=2, help="models trained at a time")
    parser.add_argument("--out", type=Path, default=Path("iqa_models/weights"))
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options.out.mkdir(parents=True, exist_ok=True)
    data = embedded(recipe=Recipe(crops=training_crops()), jobs=options.jobs)
    settings = Settings(epochs=options.epochs, first_epochs=options.first_epochs)
    torch.set_num_threads(options.jobs)
    torch.use_deterministic_algorithms(True)
    start = pretrain(training_images(data, settings), settings)
    outcomes = joblib.Parallel(n_jobs=options.jobs)(
        joblib.delayed(produce)(name, start, settings, options.out) for name in options.models
    )
    path = options.out / "provenance.json"
    record = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"models": {}}
    record |= {
        "command": "python -m bench.compact_training",
        "training_data_sha256": data.sha256,
        "test_data_sha256": embedded().sha256,
        "versions": {name: version(name) for name in ("torch", "numpy", "scipy")},
    }
    record["models"] |= dict(zip(options.models, map(asdict, outcomes), strict=True))
    path.write_text(json.dumps(record, indent=1, sort_keys=True) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
