"""Train DBCNN's last layer on your own scores: ``python -m bench.training.head --help``.

It must not know runs or defences.

The authors' head belongs to KonIQ-10k's opinions and to VGG16 weights that they fine-tuned. Where
only the plain branches are at hand (VGG16 as torchvision ships it, the S-CNN as published), the
linear layer can be had from any scored photographs: ridge regression on the bilinear vectors of the
*training* part, its strength chosen by cross-validation there. The file says what it was trained on
and the model's title repeats it, so it cannot pass for the authors' model.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import pearsonr, spearmanr
from torch import Tensor

from bench.base.cache import Cache, content_key
from bench.base.errors import BenchError
from bench.datasets.base import Dataset, Item, select
from iqa_models.base import IQAModel
from iqa_models.folders import cache_folder
from iqa_models.weights import WeightsError, tensors_sha256

Array = NDArray[np.float64]
Features = NDArray[np.float32]

log = logging.getLogger(__name__)

SHARD = 50
"""Images whose features are stored together: what an interrupted training repeats at most."""

STRENGTHS = tuple(float(strength) for strength in np.logspace(-4, 1, 11))
"""Ridge penalties tried; bilinear vectors have unit length."""


@dataclass(frozen=True, slots=True)
class Head:
    """A linear layer and how it was found.

    Attributes:
        weight: (D,).
        bias: of the score in [0, 1].
        strength: ridge penalty.
        validation_srcc: SRCC of the cross-validated predictions on the training part.
    """

    weight: Array
    bias: float
    strength: float
    validation_srcc: float


@dataclass(frozen=True, slots=True)
class Agreement:
    """SRCC and PLCC with human scores on images that were not trained on."""

    srcc: float
    plcc: float
    images: int


@dataclass(frozen=True, slots=True)
class Trunk:
    """The frozen part of a model, up to what its head is trained on.

    Attributes:
        extract: images (B, 3, H, W) to rows (B, ...).
        sha256: of everything that decides the rows.
        device: where it computes.
    """

    extract: Callable[[Tensor], Tensor]
    sha256: str
    device: torch.device


def trunk_of(model: IQAModel) -> Trunk:
    """A model without its linear head ``fc``, up to its features."""
    bound = model.bind()
    parts = {key: value for key, value in model.state_dict().items() if not key.startswith("fc.")}
    return Trunk(bound.features, tensors_sha256(parts), bound.device)


def features_of(
    trunk: Trunk, dataset: Dataset, items: Sequence[Item], *, store: Cache
) -> NDArray[Any]:
    """Rows (n, ...) of items, made once and kept in shards.

    Raises:
        ImageError: An image cannot be read.
    """
    shards = []
    for start in range(0, len(items), SHARD):
        part = items[start : start + SHARD]
        names = [item.image_id for item in part]
        key = content_key(what="head", data=dataset.sha256, trunk=trunk.sha256, items=names)
        shards.append(store.array(key, partial(_extract, trunk, dataset, part)))
        log.info("features of %d / %d images", start + len(part), len(items))
    return np.concatenate(shards)


@torch.no_grad()
def _extract(trunk: Trunk, dataset: Dataset, items: Sequence[Item]) -> NDArray[Any]:
    images = (torch.from_numpy(dataset.load(item).image)[None] for item in items)
    return np.concatenate([trunk.extract(i.to(trunk.device)).cpu().numpy() for i in images])


def fit_head(
    features: Features, targets: Array, *, folds: int = 5, strengths: Sequence[float] = STRENGTHS
) -> Head:
    """Ridge regression through the Gram matrix, which is small: n images, not D features.

    Args:
        features: (n, D).
        targets: (n,) scores in [0, 1].
        folds: of the cross-validation that chooses the strength.
        strengths: penalties to choose from.
    """
    centre = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = features - centre
    gram = (centred @ centred.T).astype(np.float64)
    fold = np.arange(len(targets)) % folds
    scores = {s: _validated(gram, targets, fold, s) for s in strengths}
    strength = max(scores, key=lambda s: scores[s])
    dual = _solve(gram, targets - targets.mean(), strength)
    weight = centred.T.astype(np.float64) @ dual
    bias = float(targets.mean() - weight @ centre)
    return Head(weight, bias, strength, scores[strength])


def _solve(gram: Array, targets: Array, strength: float) -> Array:
    solved = np.linalg.solve(gram + strength * np.eye(len(gram)), targets)
    return np.asarray(solved, dtype=np.float64)


def _validated(gram: Array, targets: Array, fold: NDArray[np.int64], strength: float) -> float:
    """SRCC of the predictions for held-out folds."""
    predicted = np.empty_like(targets)
    for index in np.unique(fold):
        held, kept = fold == index, fold != index
        mean = targets[kept].mean()
        dual = _solve(gram[np.ix_(kept, kept)], targets[kept] - mean, strength)
        predicted[held] = gram[np.ix_(held, kept)] @ dual + mean
    return float(spearmanr(predicted, targets)[0])


def unit_scores(dataset: Dataset, items: Sequence[Item]) -> Array:
    """Human scores of items, scaled from the data set's range to [0, 1]."""
    low, high = dataset.card.mos_range
    return (np.array([item.mos for item in items]) - low) / (high - low)


def agreement(head: Head, features: Features, targets: Array) -> Agreement:
    """How well a head does on other images."""
    predicted = np.clip(features.astype(np.float64) @ head.weight + head.bias, 0, 1)
    if np.ptp(predicted) == 0:  # the same of all images: no order, and no correlation is defined
        return Agreement(0.0, 0.0, len(targets))
    srcc, plcc = spearmanr(predicted, targets)[0], pearsonr(predicted, targets)[0]
    return Agreement(round(float(srcc), 4), round(float(plcc), 4), len(targets))


def write_head(head: Head, path: Path, *, dataset: Dataset, images: int, test: Agreement) -> str:
    """Write the layer with its provenance; return the file's sha256."""
    from iqa_models.weights import save_tensors

    state = {
        "fc.weight": torch.from_numpy(head.weight[None].astype(np.float32)),
        "fc.bias": torch.tensor([head.bias], dtype=torch.float32),
    }
    notes = {
        "title": f"head trained here on {dataset.card.title}",
        "method": "ridge regression on bilinear vectors, 5-fold cross-validation",
        "data": dataset.name,
        "data_sha256": dataset.sha256,
        "data_licence": dataset.card.licence,
        "training_images": str(images),
        "strength": f"{head.strength:g}",
        "validation_srcc": f"{head.validation_srcc:.4f}",
        **{f"test_{key}": str(value) for key, value in asdict(test).items()},
        "torch": version("torch"),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    return save_tensors(state, path, notes=notes)


def train(
    dataset: Dataset, out: Path, *, limit: int | None, store: Cache, device: str = "cpu"
) -> Agreement:
    """Train on the training part, measure once on the test part, write the file.

    Raises:
        BenchError: The data set has no training or no test images, or an image cannot be read.
        WeightsError: The branches' weights are missing.
    """
    from iqa_models.dbcnn import published_trunk

    parts = {split: dataset.items(split) for split in ("train", "test")}
    empty = [split for split, items in parts.items() if not items]
    if empty:
        raise BenchError(f"{dataset.name}: expected {empty[0]} images, found none.")
    trunk = trunk_of(published_trunk().to(device))
    chosen = select(parts["train"], limit=limit, seed=0)
    training = features_of(trunk, dataset, chosen, store=store)
    head = fit_head(training, unit_scores(dataset, chosen))
    held_out = features_of(trunk, dataset, parts["test"], store=store)
    test = agreement(head, held_out, unit_scores(dataset, parts["test"]))
    sha256 = write_head(head, out, dataset=dataset, images=len(chosen), test=test)
    log.info("%s: strength %g, %s, sha256 %s", out, head.strength, test, sha256[:16])
    return test


def main() -> int:
    """Command line."""
    from bench.base.devices import resolve_device
    from bench.datasets.table import find_table, open_table

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dataset", required=True, help="a dataset.toml, no-reference")
    parser.add_argument("--out", type=Path, default=Path("dbcnn_head.safetensors"))
    parser.add_argument("--limit", type=int, help="training images; all by default")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:1")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        dataset = open_table(find_table(options.dataset))
        device = resolve_device(options.device)
        store = Cache(cache_folder())
        train(dataset, options.out, limit=options.limit, store=store, device=device)
    except (BenchError, WeightsError) as error:
        log.error("%s", error)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
