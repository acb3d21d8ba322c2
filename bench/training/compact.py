"""Retrain every compact model: ``python -m bench.training.compact``.

It must not know runs or defences.

The networks see crops of the *training* photographs only; the validation photographs choose the
epoch that is kept, and this script looks at the test photographs once, at the end, for the numbers
in ``provenance.json``.  Nothing but KADID-10k's distortions, flips and exchanged colour channels
is shown to the networks: an undefended model gets no training against noise.  A training that was
cut goes on after its last whole epoch.
"""

from __future__ import annotations

import argparse
import copy
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import pearsonr, spearmanr
from torch import Tensor, nn

from bench.datasets.base import Split
from bench.datasets.embedded import EmbeddedDataset, Recipe, embedded
from bench.training.compact_data import Images, batches, gather, training_crops
from bench.training.compact_pretraining import Curriculum, naming_loss, whiten
from bench.training.compact_surgery import fold, normalise, stretch, transplant
from bench.training.progress import Resumable, note_provenance, state_folder
from iqa_models.base import IQAModel
from iqa_models.dists import DISTS
from iqa_models.dreamsim import DreamSim
from iqa_models.lpips import LPIPS
from iqa_models.plugin import model_plugin, names
from iqa_models.trunks import frozen
from iqa_models.weights import save_state

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """How a compact model is trained.

    Attributes:
        seed: of initial weights, order and augmentation.
        first_epochs: passes over all training images by the common trunk.
        epochs: passes over all training images.
        references: references in a batch.
        siblings: distorted images of each reference in a batch.
        first_rate: greatest learning rate of the common trunk, of a one-cycle schedule.
        rate: the same, of each model.
        decay: weight decay.
        auxiliary: weight of the loss for naming distortion and level (NR models).
    """

    seed: int = 20240
    first_epochs: int = 4
    epochs: int = 5
    references: int = 8
    siblings: int = 4
    first_rate: float = 3e-3
    rate: float = 1.5e-3
    decay: float = 1e-4
    auxiliary: float = 0.3


def target_of(mos: Tensor, model: IQAModel) -> Tensor:
    """Opinion (1..5) on the unit scale, turned round for distances."""
    quality = (mos - 1) / 4
    return quality if model.card.higher_is_better else 1 - quality


def _pass(images: Images, settings: Settings, number: int) -> Iterator[tuple[Tensor, ...]]:
    seed = settings.seed * 1000 + number
    return batches(images, references=settings.references, siblings=settings.siblings, seed=seed)


def loss_of(scores: Tensor, targets: Tensor) -> Tensor:
    """Huber loss on the unit scale plus one minus the linear correlation."""
    fit = F.huber_loss(scores, targets, delta=0.2)
    a, b = scores - scores.mean(), targets - targets.mean()
    correlation: Tensor = (a * b).sum() / (a.norm() * b.norm() + 1e-6)
    return 10 * fit + 1 - correlation


def train(
    model: IQAModel,
    start: nn.Module,
    data: Mapping[Split, Images],
    settings: Settings,
    folder: Path,
) -> list[float]:
    """Train in place from the common trunk; keep the epoch that agrees best on validation.

    Returns:
        SRCC with the opinions on the validation photographs after each epoch.
    """
    images = data["train"]
    targets = target_of(images.mos, model)
    width = features_of(model, *_probe(images)).shape[1]
    normalise(model)
    transplant(start, model)
    namer = nn.Linear(width, 30)
    parameters = [*model.requires_grad_(True).parameters(), *namer.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=settings.rate, weight_decay=settings.decay)
    steps = settings.epochs * sum(1 for _ in _pass(images, settings, 0))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.rate, total_steps=steps)
    moving = {"model": model, "namer": namer, "optimiser": optimiser, "schedule": schedule}
    progress = Resumable(folder / f"{model.card.name}.pt", moving)
    notes = progress.load() or {"curve": [], "best": model.state_dict()}
    for epoch in range(len(notes["curve"]), settings.epochs):
        model.train()
        for references, distorted, cells, place in _pass(images, settings, epoch):
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
        reached = agreement(model.eval(), data["validation"])[0]
        if reached > max(notes["curve"], default=-1.0):
            notes["best"] = copy.deepcopy(model.state_dict())
        notes["curve"].append(reached)
        progress.save(notes)
        log.info("%s epoch %d validation SRCC %.4f", model.card.name, epoch, reached)
    model.load_state_dict(notes["best"])
    fold(frozen(model))
    stretch(model)
    return list(notes["curve"])


def features_of(model: IQAModel, references: Tensor, distorted: Tensor, place: Tensor) -> Tensor:
    """Features of a training batch; both sides of an FR model share their batch statistics."""
    if not isinstance(model, LPIPS | DISTS | DreamSim):
        return model.extract(distorted, None)
    encoded = model.encode_reference(torch.cat([distorted, references]))
    ours = tuple(part[: len(distorted)] for part in encoded)
    theirs = tuple(part[len(distorted) :][place] for part in encoded)
    return model.compare(ours, theirs)


def constrain(model: IQAModel) -> None:
    """Keep channel weights non-negative, as LPIPS and DISTS do."""
    for name, parameter in model.named_parameters():
        if name.startswith(("lin", "alpha", "beta")):
            parameter.data.clamp_(min=0.0)


def agreement(model: IQAModel, images: Images) -> tuple[float, float]:
    """SRCC and PLCC with the opinions over single images; higher scores are better quality."""
    scores = []
    for crop in images.pixels:
        bound = model.bind(crop[:1] / 255 if model.card.mode == "FR" else None)
        with torch.no_grad():
            scores.append(bound(crop[1:] / 255))
    sign = 1 if model.card.higher_is_better else -1
    predicted = sign * torch.cat(scores).numpy()
    mos = images.mos.repeat(len(images)).numpy()
    return float(spearmanr(predicted, mos)[0]), float(pearsonr(predicted, mos)[0])


def _probe(images: Images) -> tuple[Tensor, Tensor, Tensor]:
    one = images.pixels[0, :1] / 255
    return one, one, torch.zeros(1, dtype=torch.long)


def pretrain(images: Images, settings: Settings, folder: Path) -> Curriculum:
    """The trunk that all models start from, with its batch normalisation."""
    torch.manual_seed(settings.seed)
    model = Curriculum()
    normalise(model.pairwise)
    quality = (images.mos - 1) / 4
    steps = settings.first_epochs * sum(1 for _ in _pass(images, settings, 0))
    optimiser = torch.optim.AdamW(
        model.parameters(), lr=settings.first_rate, weight_decay=settings.decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.first_rate, total_steps=steps
    )
    moving = {"model": model, "optimiser": optimiser, "schedule": schedule}
    progress = Resumable(folder / "trunk.pt", moving)
    for epoch in range(progress.load().get("epochs", 0), settings.first_epochs):
        losses = []
        for references, distorted, cells, place in _pass(images, settings, 100 + epoch):
            distance, alone, pair_names, own_names = model.train()(references, distorted, place)
            parts = (
                loss_of(distance, 1 - quality[cells]),
                loss_of(alone / 100, quality[cells]),
                0.3 * naming_loss(pair_names, cells),
                0.3 * naming_loss(own_names, cells),
            )
            optimiser.zero_grad()
            torch.stack(parts).sum().backward()
            nn.utils.clip_grad_norm_(model.parameters(), 2.0)
            optimiser.step()
            schedule.step()
            constrain(model.pairwise)
            losses.append([float(part.detach()) for part in parts])
        progress.save({"epochs": epoch + 1})
        log.info("trunk epoch %d losses %s", epoch, np.mean(losses, axis=0).round(3))
    return model


def produce(
    name: str, start: nn.Module, data: EmbeddedDataset, settings: Settings, out: Path
) -> dict[str, Any]:
    """Train one model on one thread, write its weights, measure it on the test photographs."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(settings.seed)
    started = time.process_time()
    model = model_plugin(name).architecture("compact")
    parts: dict[Split, Images] = {s: gather(data, s) for s in ("train", "validation")}
    folder = state_folder("compact", data=data.sha256, **asdict(settings))
    curve = train(model, start, parts, settings, folder)
    seconds = time.process_time() - started
    return written(model, out / f"{name}.safetensors", curve, seconds, settings)


def written(
    model: IQAModel, path: Path, curve: Sequence[float], seconds: float, settings: Any
) -> dict[str, Any]:
    """Write a model's weights; returns what they cost and reached, on test photographs too."""
    srcc, plcc = agreement(model, gather(embedded(), "test"))
    return {
        "sha256": save_state(model, path),
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "seconds": round(seconds, 1),
        "validation_srcc": [round(value, 4) for value in curve],
        "test_srcc": round(srcc, 4),
        "test_plcc": round(plcc, 4),
        "settings": asdict(settings),
    }


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
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    # The trunk does not depend on how long the models train after it.
    common = state_folder("compact", data=data.sha256, **asdict(replace(settings, epochs=0)))
    start = pretrain(gather(data, "train"), settings, common)
    outcomes = joblib.Parallel(n_jobs=options.jobs)(
        joblib.delayed(produce)(name, start, data, settings, options.out) for name in options.models
    )
    note_provenance(
        options.out,
        "models",
        dict(zip(options.models, outcomes, strict=True)),
        command="python -m bench.training.compact",
        training_data_sha256=data.sha256,
        test_data_sha256=embedded().sha256,
        versions={name: version(name) for name in ("torch", "numpy", "scipy")},
    )


if __name__ == "__main__":
    main()
