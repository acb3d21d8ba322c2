"""Retrain the compact LipSim: ``python -m bench.training.lipsim``.

It must not know runs or defences.

As the other compact models it sees crops of the *training* photographs only; the validation
photographs choose the part of the training that is kept, and the test photographs are looked at
at the end.  It starts from no common trunk: its bands are fixed, their gains are fitted first, on
the energy of each band's difference alone, and its layers begin close to the identity.
Opinions are fitted by a line on the logarithm of the distance, which is left out of the model: a
rank correlation does not see it, and a Lipschitz constant would.
"""

from __future__ import annotations

import argparse
import copy
import logging
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from bench.datasets.embedded import Recipe, embedded
from bench.training.compact import agreement, loss_of, target_of, written
from bench.training.compact_data import Images, batches, gather, training_crops
from bench.training.progress import Resumable, note_provenance, state_folder
from iqa_models.lipsim import LipSim, compact, contrast
from iqa_models.trunks import frozen

log = logging.getLogger(__name__)
NAME = "lipsim"


@dataclass(frozen=True, slots=True)
class Settings:
    """How it is trained.

    Attributes:
        seed: of initial weights, order and augmentation.
        gain_steps: steps that fit the gains alone, 1024 images each.
        slope_weight: weight of the squared slopes meanwhile: there are seventeen photographs.
        steps: steps of everything together.
        rounds: parts of these, with a look at the validation photographs after each.
        references: references in a batch.
        siblings: distorted images of each reference in a batch.
        rate: greatest learning rate of the layers, of a one-cycle schedule.
        gain_rate: learning rate of gains and line while they are alone.
        later_gain_rate: their greatest one afterwards.
    """

    seed: int = 20240
    gain_steps: int = 600
    slope_weight: float = 0.3
    steps: int = 28
    rounds: int = 2
    references: int = 4
    siblings: int = 16
    rate: float = 1e-3
    gain_rate: float = 3e-2
    later_gain_rate: float = 5e-3


class Line(nn.Module):
    """``slope log(distance + start) + level``: what opinions are fitted by."""

    def __init__(self) -> None:
        """Start where distances of a few units are half of the scale."""
        super().__init__()
        self.values = nn.Parameter(torch.tensor([0.2, 0.5, 0.0]))

    def forward(self, distances: Tensor) -> Tensor:
        """Predicted opinions ``(B,)``, 0 is best."""
        slope, level, start = self.values
        opinions: Tensor = slope * torch.log(distances + start.exp()) + level
        return opinions


@dataclass
class Training:
    """Everything that moves."""

    model: LipSim
    line: Line
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.OneCycleLR

    @classmethod
    def begun(cls, settings: Settings) -> Training:
        """Before the first step."""
        torch.manual_seed(settings.seed)
        model, line = compact().requires_grad_(True), Line()
        gains = [model.get_parameter(f"embedder.{name}") for name in ("level", "slope")]
        layers = [p for p in model.parameters() if all(p is not gain for gain in gains)]
        rates = [settings.rate, settings.later_gain_rate]
        groups = [{"params": layers}, {"params": [*gains, *line.parameters()]}]
        optimiser = torch.optim.Adam(groups)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, rates, total_steps=settings.steps)
        return cls(model, line, optimiser, schedule)

    def fit_gains(self, images: Images, targets: Tensor, settings: Settings) -> None:
        """Gains and line alone: without layers a distance needs the bands' energies only."""
        found, contrasts = energies(images)
        mean, spread = contrasts.mean(0), contrasts.std(0) + 0.1
        seen = (contrasts - mean) / spread
        level, slope = (torch.zeros_like(mean, requires_grad=True) for _ in range(2))
        optimiser = torch.optim.Adam([level, slope, *self.line.parameters()], lr=settings.gain_rate)
        draw = torch.Generator().manual_seed(settings.seed)
        for _ in range(settings.gain_steps):
            rows = torch.randint(len(found), (128,), generator=draw)
            cells = torch.randint(found.shape[1], (128, 8), generator=draw)
            squares = torch.exp(2 * (level + slope * seen[rows]))
            distances = torch.einsum("rkc,rc->rk", found[rows[:, None], cells], squares)
            loss = loss_of(self.line((distances + 1e-8).sqrt().flatten()), targets[cells].flatten())
            loss = loss + settings.slope_weight * slope.square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        with torch.no_grad():
            # Gains are cut at 1, so most references' largest is put there: as large as can be.
            largest = (level + slope * seen).amax(1).quantile(0.9)
            self.model.get_parameter("embedder.slope").copy_(slope / spread)
            folded = level - slope * mean / spread - largest
            self.model.get_parameter("embedder.level").copy_(folded)
            rate, start = self.line.values[0], self.line.values[2]
            self.line.values[1] += rate * largest
            start -= largest

    def step(self, batch: tuple[Tensor, ...], targets: Tensor) -> float:
        """One step; returns the loss."""
        references, distorted, cells, place = batch
        theirs = tuple(part[place] for part in self.model.encode_reference(references))
        features = self.model.compare((self.model.embedder(distorted),), theirs)
        loss = loss_of(self.line(self.model.head(features)), targets[cells])
        self.optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.schedule.step()
        return float(loss.detach())


@torch.no_grad()
def energies(images: Images) -> tuple[Tensor, Tensor]:
    """Of every second crop: squared differences in each band, and the reference's contrast there.

    Returns:
        ``(crops, 125, channels)`` and ``(crops, channels)``.
    """
    bands = compact().embedder.get_submodule("bands")
    squares, contrasts = [], []
    for crop in images.pixels[::2]:
        maps = bands(crop / 255)
        squares.append((maps[1:] - maps[:1]).square().sum((2, 3)))
        contrasts.append(contrast(maps[:1]))
    return torch.stack(squares), torch.cat(contrasts)


def train(train_: Images, validation: Images, settings: Settings, file: Path) -> dict[str, Any]:
    """Train, going on where an earlier call was cut; returns the best weights and the curve."""
    training = Training.begun(settings)
    moving = {name: getattr(training, name) for name in ("model", "line", "optimiser", "schedule")}
    progress = Resumable(file, moving)
    notes = progress.load()
    targets = target_of(train_.mos, training.model)
    began = time.process_time()
    if not notes:
        training.fit_gains(train_, targets, settings)
        notes = {"curve": [agreement(training.model, validation)[0]], "seconds": 0.0}
        notes["best"] = copy.deepcopy(training.model.state_dict())
        log.info("gains alone: validation %.4f", notes["curve"][0])
    part = settings.steps // settings.rounds
    for round_ in range(len(notes["curve"]) - 1, settings.rounds):
        chosen = islice(_batches(train_, settings), round_ * part, (round_ + 1) * part)
        losses = [training.step(batch, targets) for batch in chosen]
        reached = agreement(training.model, validation)[0]
        if reached > max(notes["curve"]):
            notes["best"] = copy.deepcopy(training.model.state_dict())
        notes["curve"].append(reached)
        notes["seconds"] += time.process_time() - began
        began = time.process_time()
        progress.save(notes)
        log.info("round %d loss %.4f validation %.4f", round_, sum(losses) / part, reached)
    return notes


def _batches(images: Images, settings: Settings) -> Iterator[tuple[Tensor, ...]]:
    return batches(
        images, references=settings.references, siblings=settings.siblings, seed=settings.seed
    )


def main() -> None:
    """Command line: how long, where to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=Settings().steps)
    parser.add_argument("--out", type=Path, default=Path("iqa_models/weights"))
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    data = embedded(recipe=Recipe(crops=training_crops()))
    settings = Settings(steps=options.steps)
    file = state_folder(NAME, data=data.sha256, **asdict(settings)) / "state.pt"
    notes = train(gather(data, "train"), gather(data, "validation"), settings, file)
    model = compact()
    model.load_state_dict(notes["best"])
    path = options.out / f"{NAME}.safetensors"
    outcome = {
        **written(frozen(model), path, notes["curve"], notes["seconds"], settings),
        "command": "python -m bench.training.lipsim",
        "training_data_sha256": data.sha256,
        "test_data_sha256": embedded().sha256,
    }
    note_provenance(options.out, "models", {NAME: outcome})


if __name__ == "__main__":
    main()
