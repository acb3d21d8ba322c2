"""Train HyperIQA's head on your own scores: ``python -m bench.training.hyper_head --help``.

It must not know runs or defences.

The authors' hyper network belongs to a ResNet-50 that they fine-tuned on KonIQ-10k.  Where only the
trunk trained on ImageNet is at hand, everything behind it (local modules, hyper network, target
network) can be had from scored photographs: the trunk's maps are computed once and kept, pooled
where the model pools them anyway.  A part of the *training* photographs chooses the epoch; no test
photograph is read.  The file says what it was trained on and the model's title repeats it.
"""

from __future__ import annotations

import argparse
import copy
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from bench.base.cache import Cache, content_key
from bench.base.errors import BenchError
from bench.datasets.base import Dataset, Item, select
from bench.training.head import Trunk, features_of, unit_scores
from bench.training.progress import Resumable
from iqa_models.folders import cache_folder
from iqa_models.hyperiqa import TRUNK_PREFIX, HyperIQA, head_state, published_trunk
from iqa_models.weights import WeightsError, save_tensors, tensors_sha256

log = logging.getLogger(__name__)

HELD_OUT = 8
"""Every so many-th training photograph chooses the epoch and is not trained on."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How the head is trained.

    Attributes:
        epochs: passes over the training photographs, each mirrored or not by chance.
        batch: photographs of a step.
        rate: learning rate at the start, of a cosine schedule.
        decay: weight decay; this and the loss, the absolute error, are the authors'.
        seed: of weights, order and mirroring.
    """

    epochs: int = 30
    batch: int = 32
    rate: float = 2e-4
    decay: float = 5e-4
    seed: int = 2025


@dataclass(frozen=True, slots=True)
class Trained:
    """A head and how well it does on the photographs that chose it.

    Attributes:
        state: everything of the model but its trunk.
        curve: one entry for each epoch: mean training loss, validation SRCC.
        images: photographs trained on, and held out.
    """

    state: dict[str, Tensor]
    curve: list[dict[str, float]]
    images: tuple[int, int]


def pooled_trunk(model: HyperIQA) -> Trunk:
    """The trunk's maps, pooled, of images and of their mirror images: ``(B, 2, d)``, half floats.

    The 1x1 convolutions of the local modules and their pooling are linear and commute.
    """

    def extract(images: Tensor) -> Tensor:
        both = torch.stack([images, images.flip(-1)], dim=1).flatten(0, 1)
        maps = model.base_model(model.standardize(model.crops(both)))[-4:]
        local = zip(model.lda_modules[:-1], maps[:-1], strict=True)
        parts = [*(module.get_submodule("1")(part) for module, part in local), maps[-1]]
        return torch.cat([part.flatten(1) for part in parts], dim=1).view(len(images), 2, -1).half()

    base = {k: v for k, v in model.state_dict().items() if k.startswith(TRUNK_PREFIX)}
    sha256 = content_key(trunk=tensors_sha256(base), crops=repr(model.crops), what="pooled")
    return Trunk(extract, sha256, next(model.parameters()).device)


def features_from(model: HyperIQA, pooled: Tensor) -> Tensor:
    """The model's features ``(B, D)`` of pooled maps ``(B, d)``, through its own modules."""
    shape = model.geometry
    fine = zip(shape.maps, shape.grid, strict=False)
    sizes = [channels * grid**2 for channels, grid in fine]
    *maps, coarse = pooled.split([*sizes, pooled.shape[1] - sum(sizes)], dim=1)
    coarse = coarse.view(len(pooled), shape.maps[-1], *shape.cell)
    local = []
    for module, part, grid in zip(model.lda_modules[:-1], maps, shape.grid, strict=True):
        reduce, _, flatten, linear = module.children()  # the second is the pooling, done before
        local.append(linear(flatten(reduce(part.view(len(part), -1, grid, grid)))))
    hyper = model.conv1(coarse)
    return torch.cat([hyper.flatten(1), *local, model.lda_modules[-1](coarse)], dim=1)


def fit(
    model: HyperIQA, rows: Tensor, targets: Tensor, settings: Settings, progress: Resumable
) -> tuple[dict[str, Tensor], list[dict[str, float]]]:
    """Train everything behind the trunk in place; the best epoch's state, and the curve.

    Args:
        model: Its head as built.
        rows: ``(n, 2, d)`` pooled maps; every eighth photograph is held out.
        targets: ``(n,)`` scores in [0, 1].
        settings: The training's.
        progress: Keeps ``model`` (the head), ``optimiser`` and ``schedule`` after every epoch.
    """
    notes = progress.load() or {"curve": [], "best": {}}
    curve: list[dict[str, float]] = notes["curve"]
    held = torch.arange(len(rows)) % HELD_OUT == 0
    kept = (~held).nonzero().flatten()
    optimiser, schedule = progress.parts["optimiser"], progress.parts["schedule"]
    for epoch in range(len(curve), settings.epochs):
        draw = torch.Generator().manual_seed(settings.seed * 1000 + epoch)
        order = kept[torch.randperm(len(kept), generator=draw)]
        losses = []
        for batch in order.split(settings.batch):
            side = torch.randint(2, (len(batch),), generator=draw)
            predicted = model.head(features_from(model, rows[batch, side].float()))
            loss = (predicted - targets[batch]).abs().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses.append(float(loss.detach()))
        schedule.step()
        srcc = _srcc(model, rows[held, 0], targets[held])
        if srcc > max((entry["validation"] for entry in curve), default=-2.0):
            notes["best"] = copy.deepcopy(head_state(model))
        curve.append({"loss": float(np.mean(losses)), "validation": srcc})
        progress.save(notes)
        log.info("epoch %d: %s", epoch, curve[-1])
    return notes["best"], curve


@torch.no_grad()
def _srcc(model: HyperIQA, rows: Tensor, targets: Tensor) -> float:
    predicted = torch.cat(
        [model.head(features_from(model, part.float())) for part in rows.split(50)]
    )
    if float(predicted.std()) == 0:  # the same of all photographs: no correlation is defined
        return 0.0
    return round(float(spearmanr(predicted.numpy(), targets.numpy())[0]), 4)


class Head:
    """What a `Resumable` keeps of a model: all but its trunk, which never changes."""

    def __init__(self, model: HyperIQA) -> None:
        """Remember the model."""
        self.model = model

    def state_dict(self) -> dict[str, Tensor]:
        """Everything but the trunk."""
        return head_state(self.model)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Put it back."""
        self.model.load_state_dict(self.model.state_dict() | state)


def trainable(model: HyperIQA, settings: Settings, path: Path) -> Resumable:
    """New weights for everything behind the trunk, and where its training is kept."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        for name, module in model.named_modules():
            reset = getattr(module, "reset_parameters", None)
            if reset is not None and not name.startswith(TRUNK_PREFIX):
                reset()
    parameters = [p for k, p in model.named_parameters() if not k.startswith(TRUNK_PREFIX)]
    for parameter in parameters:
        parameter.requires_grad_(True)
    optimiser = torch.optim.Adam(parameters, lr=settings.rate, weight_decay=settings.decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, settings.epochs)
    moving: dict[str, Any] = {"model": Head(model), "optimiser": optimiser, "schedule": schedule}
    return Resumable(path, moving)


def train(
    model: HyperIQA, dataset: Dataset, items: Sequence[Item], *, settings: Settings, store: Cache
) -> Trained:
    """Train on scored photographs.

    Raises:
        BenchError: There are too few photographs to hold some out.
        ImageError: An image cannot be read.
    """
    if len(items) < 2 * HELD_OUT:
        raise BenchError(f"{dataset.name}: expected {2 * HELD_OUT} images, found {len(items)}.")
    trunk = pooled_trunk(model)
    rows = torch.from_numpy(features_of(trunk, dataset, items, store=store))
    targets = torch.from_numpy(unit_scores(dataset, items)).float()
    names = [item.image_id for item in items]
    key = content_key(
        trunk=trunk.sha256, data=dataset.sha256, items=names, settings=asdict(settings)
    )
    path = store.checkpoint_path(key, "hyper-head")
    best, curve = fit(model, rows, targets, settings, trainable(model, settings, path))
    held = len(range(0, len(items), HELD_OUT))
    return Trained(best, curve, (len(items) - held, held))


def write(trained: Trained, path: Path, *, dataset: Dataset, settings: Settings) -> str:
    """Write the head with its provenance; return the file's sha256."""
    images, held = trained.images
    notes = {
        "title": f"one crop, head trained here on {dataset.card.title}",
        "method": "absolute error, Adam, cosine schedule, trunk frozen, mirrored by chance",
        **{key: f"{value:g}" for key, value in asdict(settings).items()},
        "data": dataset.name,
        "data_sha256": dataset.sha256,
        "data_licence": dataset.card.licence,
        "training_images": str(images),
        "validation_images": str(held),
        "validation_srcc": f"{max(entry['validation'] for entry in trained.curve):.4f}",
        "torch": version("torch"),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    return save_tensors(trained.state, path, notes=notes)


def main() -> int:
    """Command line."""
    from bench.base.devices import resolve_device
    from bench.datasets.table import find_table, open_table

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, help="a dataset.toml, no-reference")
    parser.add_argument("--out", type=Path, default=Path("hyperiqa_head.safetensors"))
    parser.add_argument("--limit", type=int, help="training images; all by default")
    parser.add_argument("--epochs", type=int, default=Settings().epochs)
    parser.add_argument("--rate", type=float, default=Settings().rate)
    parser.add_argument("--device", default="auto", help="of the trunk: auto, cpu, cuda or cuda:1")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    settings = Settings(epochs=options.epochs, rate=options.rate)
    try:
        dataset = open_table(find_table(options.dataset))
        model = published_trunk().to(resolve_device(options.device))
        items = select(dataset.items("train"), limit=options.limit, seed=0)
        trained = train(model, dataset, items, settings=settings, store=Cache(cache_folder()))
        sha256 = write(trained, options.out, dataset=dataset, settings=settings)
    except (BenchError, WeightsError) as error:
        log.error("%s", error)
        return 2
    log.info("%s: %s, sha256 %s", options.out, trained.curve[-1], sha256[:16])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
