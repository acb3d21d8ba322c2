"""Make the shipped denoisers of DMS and DMS-IQA: ``python -m bench.training.denoisers``.

They belong to the compact models and see crops of the *training* photographs only; the validation
photographs choose the epoch that is kept.  DMS's DnCNN learns pixels.  The six U-Nets of DMS-IQA
share their first half, which learns pixels too; from there each learns pixels, scores and ranks
through its own frozen model.  A training that was cut goes on after its last whole epoch, with the
same numbers.  It must not know how a run finds the files.
"""

from __future__ import annotations

import argparse
import copy
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from bench.datasets.embedded import EmbeddedDataset, Recipe, embedded
from bench.datasets.photographs import training_sha256
from bench.training.compact import target_of
from bench.training.compact_data import Images, batches, gather, training_crops
from bench.training.progress import Resumable, note_provenance, state_folder
from defenses.denoisers import (
    DenoiserPart,
    ScoreAwareDenoiserPart,
    expected_mse,
    filter_ratio,
    fit_line,
    mse,
    rank_loss,
)
from defenses.shipped import part_key
from iqa_models.base import IQAModel
from iqa_models.plugin import load, names
from iqa_models.weights import save_state, shipped

log = logging.getLogger(__name__)

SIGMAS = (0.1, 0.25, 0.5)
"""Noise levels learnt and measured; a network is told which one it looks at."""

DRAWS = 4
"""Noises of each validation image, of whose scores the median is taken."""


@dataclass(frozen=True, slots=True)
class Settings:
    """A denoiser's network and its training.

    Attributes:
        width: channels.
        depth: convolutions of a DnCNN, levels of a U-Net.
        stride: of the pixel-unshuffling in front of the network.
        epochs: passes over all training images that learn pixels.
        score_epochs: passes that learn pixels, scores and ranks.
        rate: greatest learning rate of the pixel epochs, of a one-cycle schedule.
        score_rate: the same, of the score epochs.
        references: references in a batch.
        siblings: distorted images of each reference in a batch.
        decay: weight decay.
        seed: of initial weights, order, augmentation and noise.
    """

    width: int
    depth: int
    stride: int = 4
    epochs: int = 20
    score_epochs: int = 0
    rate: float = 3e-3
    score_rate: float = 1e-4
    references: int = 8
    siblings: int = 4
    decay: float = 1e-4
    seed: int = 20240


SETTINGS = {
    "denoiser": Settings(width=48, depth=5, epochs=5, rate=1e-3),
    "denoiser-iqa": Settings(width=24, depth=2, epochs=5, score_epochs=1, rate=1e-3),
}
"""By the name of the part, as in `defenses.denoisers`."""

Loss = Callable[[Tensor, Tensor, Tensor, Tensor, float], Tensor]
"""Of restored, clean, references (row by row), cells and the noise level."""

Judge = Callable[[nn.Module], list[float]]
"""Figures of a network on the validation photographs; their mean is to be as great as can be."""


def improve(
    module: nn.Module, images: Images, settings: Settings, loss: Loss, judge: Judge, path: Path
) -> list[dict[str, Any]]:
    """Train in place, by the settings' pixel epochs; keep the best epoch, or the start.

    Returns:
        One entry for each epoch: CPU seconds so far, mean loss, validation figures.
    """
    rows = len(images) * (125 // settings.siblings) // settings.references
    optimiser = torch.optim.AdamW(
        module.parameters(), lr=settings.rate, weight_decay=settings.decay
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.rate, total_steps=max(1, rows) * settings.epochs + 1
    )
    moving = {"module": module, "optimiser": optimiser, "schedule": schedule}
    progress = Resumable(path, moving)
    notes = progress.load()
    if not notes:
        with torch.no_grad():
            start = float(np.mean(judge(module.eval())))
        notes = {"curve": [], "best": copy.deepcopy(module.state_dict()), "greatest": start}
    curve: list[dict[str, Any]] = notes["curve"]
    for epoch in range(len(curve), settings.epochs):
        started, losses = time.process_time(), []
        for value in _pass(module.train(), images, settings, loss, epoch):
            optimiser.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            losses.append(float(value.detach()))
        with torch.no_grad():
            figures = judge(module.eval())
        if np.mean(figures) > notes["greatest"]:
            notes["best"] = copy.deepcopy(module.state_dict())
            notes["greatest"] = float(np.mean(figures))
        before = curve[-1]["seconds"] if curve else 0.0
        seconds = round(before + time.process_time() - started, 1)
        entry = {"seconds": seconds, "loss": float(np.mean(losses)), "validation": figures}
        curve.append(entry)
        progress.save(notes)
        log.info("%s epoch %d %s", path.stem, epoch, entry)
    module.load_state_dict(notes["best"])
    return curve


def _pass(
    module: nn.Module, images: Images, settings: Settings, loss: Loss, epoch: int
) -> Iterator[Tensor]:
    """Losses of one pass over all images, each batch with one noise level."""
    seed = settings.seed * 1000 + epoch
    draw = torch.Generator().manual_seed(seed)
    sizes = {"references": settings.references, "siblings": settings.siblings}
    for references, clean, cells, place in batches(images, **sizes, seed=seed):
        sigma = SIGMAS[int(torch.randint(len(SIGMAS), (1,), generator=draw))]
        noisy = clean + sigma * torch.randn(clean.shape, generator=draw)
        # Half precision inside the network only: it is what takes the time.
        with torch.autocast("cpu", dtype=torch.bfloat16):
            restored = module(noisy.contiguous(memory_format=torch.channels_last), sigma)
        yield loss(restored.float(), clean, references[place], cells, sigma)


def pixel_loss(
    restored: Tensor, clean: Tensor, references: Tensor, cells: Tensor, sigma: float
) -> Tensor:
    """Squared error, in units of the best linear guess's."""
    return mse(restored, clean) / expected_mse(sigma)


def pixel_judge(held_out: Images) -> Judge:
    """Minus the pixel loss at each noise level."""

    def judge(module: nn.Module) -> list[float]:
        losses: dict[float, list[float]] = {sigma: [] for sigma in SIGMAS}
        for crop, sigma, noise in _noises(held_out, draws=1):
            losses[sigma].append(float(mse(module(crop + sigma * noise[0], sigma), crop)))
        return [-float(np.mean(losses[sigma])) / expected_mse(sigma) for sigma in SIGMAS]

    return judge


def score_loss(model: IQAModel, images: Images) -> Loss:
    """Pixels, scores and ranks with equal weights, all on unit scales.

    Pixels in units of the best linear guess's error, scores of the range of quality: plain squared
    errors of pixels are so small beside the others that a denoiser learns to draw scores.
    """
    targets = target_of(images.mos, model)
    with torch.no_grad():
        clean = [_scores(model, crop[1:] / 255, crop[:1] / 255) for crop in images.pixels[::8]]
    slope, intercept = fit_line(torch.cat(clean), targets.repeat(len(clean)))

    def loss(
        restored: Tensor, clean: Tensor, references: Tensor, cells: Tensor, sigma: float
    ) -> Tensor:
        predicted = slope * _scores(model, restored, references) + intercept
        target = targets[cells]
        pixels = pixel_loss(restored, clean, references, cells, sigma)
        return pixels + mse(predicted, target) + rank_loss(predicted, target)

    return loss


def _scores(model: IQAModel, images: Tensor, references: Tensor) -> Tensor:
    """Scores before they are clamped: a clamp has no gradient."""
    bound = model.bind(references if model.card.mode == "FR" else None)
    return model.head(bound.features(images))


def score_judge(model: IQAModel, held_out: Images) -> Judge:
    """SRCC of the median score of some draws with the opinions, at each noise level."""
    sign = 1 if model.card.higher_is_better else -1
    pristine = held_out.pixels[:, :1] / 255
    bound = [model.bind(row if model.card.mode == "FR" else None) for row in pristine]

    def judge(module: nn.Module) -> list[float]:
        scores: dict[float, list[Tensor]] = {sigma: [] for sigma in SIGMAS}
        for number, (crop, sigma, noises) in enumerate(_noises(held_out, draws=DRAWS)):
            scorer = bound[number // len(SIGMAS)]
            drawn = [scorer(module(crop + sigma * noise, sigma)) for noise in noises]
            scores[sigma].append(sign * torch.stack(drawn).median(dim=0).values)
        mos = held_out.mos.repeat(len(bound))
        return [round(float(spearmanr(torch.cat(scores[s]), mos)[0]), 4) for s in SIGMAS]

    return judge


def _noises(held_out: Images, *, draws: int) -> Iterator[tuple[Tensor, float, Tensor]]:
    """The distorted images of each crop, a noise level, and always the same noises."""
    draw = torch.Generator().manual_seed(0)
    for crop in held_out.pixels:
        images = (crop[1:] / 255).contiguous(memory_format=torch.channels_last)
        for sigma in SIGMAS:
            yield images, sigma, torch.randn((draws, *images.shape), generator=draw)


@dataclass(frozen=True, slots=True)
class Material:
    """What all trainings share: crops of the training and of the validation photographs."""

    data: EmbeddedDataset

    def train(self) -> Images:
        """All training crops."""
        return gather(self.data, "train")

    def held_out(self) -> Images:
        """One crop of each validation photograph."""
        whole = gather(self.data, "validation")
        return Images(whole.pixels[::2], whole.mos)

    def path(self, name: str, settings: Settings, **more: str) -> Path:
        """Where the state of one training lies."""
        folder = state_folder(name, data=self.data.sha256, **asdict(settings), **more)
        return folder / f"{name}.pt"


def learn_pixels(
    part: DenoiserPart | ScoreAwareDenoiserPart, material: Material, settings: Settings
) -> tuple[nn.Module, list[dict[str, Any]]]:
    """A network that takes noise away, and its learning curve."""
    torch.manual_seed(settings.seed)
    module = part.build(feature_size=None, mos_range=(1.0, 5.0), settings=settings)
    module = module.to(memory_format=torch.channels_last)
    path = material.path(f"{part.name}-pixels", settings)
    judge = pixel_judge(material.held_out())
    return module, improve(module, material.train(), settings, pixel_loss, judge, path)


def learn_scores(
    module: nn.Module, name: str, material: Material, settings: Settings
) -> list[dict[str, Any]]:
    """Go on through the frozen model; returns the learning curve."""
    model, images = load(name), material.train()
    later = Settings(
        **asdict(settings) | {"epochs": settings.score_epochs, "rate": settings.score_rate}
    )
    path = material.path(f"denoiser-iqa-{name}", later, model=shipped(name)[1])
    judge = score_judge(model, material.held_out())
    return improve(module, images, later, score_loss(model, images), judge, path)


def produce(task: str, material: Material, out: Path) -> dict[str, Any]:
    """Train one denoiser on one thread and write it: ``denoiser``, or a model's name.

    Returns:
        Its provenance.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    own = task == "denoiser"
    part = DenoiserPart() if own else ScoreAwareDenoiserPart()
    settings = SETTINGS[part.name]
    module, pixels = learn_pixels(part, material, settings)
    scores = [] if own else learn_scores(module, task, material, settings)
    model = None if own else load(task)
    network = asdict(settings)
    file = f"{part.name}.safetensors" if own else f"{part.name}-{task}.safetensors"
    judged = {name: judged_with(name, module, material) for name in (names() if own else (task,))}
    return {
        "file": file,
        "key": part_key(
            part=part.name, network=network, photographs=training_sha256(), model=model
        ),
        "sha256": save_state(module, out / file),
        "part": part.name,
        "model": None if own else task,
        "parameters": sum(parameter.numel() for parameter in module.parameters()),
        "settings": network,
        "pixel_curve": pixels,
        "score_curve": scores,
        "validation_srcc": judged,
        "filter_ratio": against_filters(module, material.held_out()),
    }


@torch.no_grad()
def judged_with(name: str, module: nn.Module, material: Material) -> dict[str, float]:
    """SRCC on the validation photographs through one model, by noise level."""
    figures = score_judge(load(name), material.held_out())(module.eval())
    return dict(zip(map(str, SIGMAS), figures, strict=True))


def against_filters(module: nn.Module, held_out: Images) -> float:
    """`defenses.denoisers.filter_ratio` on the undistorted crops of the validation photographs."""
    draw = torch.Generator().manual_seed(0)
    return filter_ratio(module, held_out.pixels[:, 0] / 255, sigmas=SIGMAS, generator=draw)


def start(material: Material) -> None:
    """The pixel half that DMS-IQA's six networks share, made before they part."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    learn_pixels(ScoreAwareDenoiserPart(), material, SETTINGS["denoiser-iqa"])


def main() -> None:
    """Command line: which denoisers, where to."""
    parser = argparse.ArgumentParser(description=__doc__)
    tasks = ("denoiser", *names())
    parser.add_argument("--only", nargs="+", choices=(*tasks, "start"), default=tasks)
    parser.add_argument("--jobs", type=int, default=2, help="denoisers trained at a time")
    parser.add_argument("--out", type=Path, default=Path("defenses/weights"))
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    options.out.mkdir(parents=True, exist_ok=True)
    material = Material(embedded(recipe=Recipe(crops=training_crops()), jobs=options.jobs))
    workers = joblib.Parallel(n_jobs=options.jobs)
    if set(options.only) - {"denoiser"}:
        start(material)
    chosen = [task for task in options.only if task != "start"]
    entries = workers(joblib.delayed(produce)(task, material, options.out) for task in chosen)
    note_provenance(
        options.out,
        "parts",
        {entry["file"]: entry for entry in entries},
        command="python -m bench.training.denoisers",
        sigmas=SIGMAS,
        training_data_sha256=material.data.sha256,
        versions={name: version(name) for name in ("torch", "numpy", "scipy")},
    )


if __name__ == "__main__":
    main()
