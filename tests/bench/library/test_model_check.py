"""The kit for models: ours conform, and each mistake is found by the check that asks for it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from bench.cli.app import main
from bench.library.model_check import CHECKS, outcomes
from iqa_models.base import IQAModel, ModelCard

Step = Callable[[Tensor], Tensor]


def same(x: Tensor) -> Tensor:
    return x


class Shaded(IQAModel):
    """Mean and spread of each colour, with one step that may be wrong; scores of 50 to 60."""

    def __init__(
        self,
        *,
        before: Step = same,
        features: Step = same,
        after: Step = same,
        mode: str = "NR",
        high: float = 100.0,
    ) -> None:
        super().__init__()
        self.card = ModelCard("m", "M", mode, (0.0, high), True, 8, "c", "l")  # type: ignore[arg-type]
        self.edition = "compact"
        self.before, self.features, self.after = before, features, after
        self.last = torch.nn.Linear(6, 1)
        torch.nn.init.constant_(self.last.weight, 1.0)
        torch.nn.init.constant_(self.last.bias, 50.0)

    def extract(self, images: Tensor, reference: tuple[Tensor, ...] | None) -> Tensor:
        x = self.before(images)
        return self.features(torch.cat([x.mean((2, 3)), x.square().mean((2, 3))], dim=1))

    def head(self, features: Tensor) -> Tensor:
        return self.after(self.last(features).squeeze(1))


class Compared(Shaded):
    """The same beside a reference; ``rows`` is what becomes of the reference's rows."""

    def __init__(self, rows: Step = same) -> None:
        super().__init__(mode="FR")
        self.rows = rows

    def encode_reference(self, reference: Tensor) -> tuple[Tensor, ...]:
        return (self.rows(reference.mean((2, 3)).repeat(1, 2)),)

    def extract(self, images: Tensor, reference: tuple[Tensor, ...] | None) -> Tensor:
        assert reference is not None
        return super().extract(images, None) - reference[0]


def failures(model: IQAModel, *, frozen: bool = True) -> dict[str, str]:
    ready = model.eval().requires_grad_(False) if frozen else model
    return {found.name: found.evidence for found in outcomes(ready) if found.status == "failed"}


@pytest.mark.parametrize("model", [Shaded(), Compared()])
def test_a_model_that_keeps_the_contract_passes_every_check(model: IQAModel) -> None:
    ready = model.eval().requires_grad_(False)
    found = {outcome.name: outcome.status for outcome in outcomes(ready)}
    assert list(found) == list(CHECKS)
    skipped = {name for name, status in found.items() if status == "not applicable"}
    assert skipped == (set() if model.card.mode == "FR" else {"references"})
    assert "failed" not in found.values()


WRONG: dict[str, tuple[IQAModel, str, str]] = {
    "maps": (Shaded(features=lambda f: f[:, :, None, None]), "features", "pool or flatten"),
    "column": (Shaded(after=lambda s: s[:, None]), "scores", r"found (3, 1): one number for each"),
    "scalar": (Shaded(after=torch.mean), "scores", "found ()"),
    "nan": (Shaded(after=lambda s: s * torch.nan), "scores", "expected numbers, found [nan"),
    "narrow": (Shaded(high=20.0), "score range", "expected scores in [0, 20], found 5"),
    "dropout": (
        Shaded(features=lambda f: f + torch.rand_like(f)),
        "same bits",
        "no random crop, dropout",
    ),
    "clipped": (Shaded(before=lambda x: x.clamp(0, 1)), "noisy images", "clipped to [0, 1]"),
    "one size": (
        Shaded(before=lambda x: x[..., :73].reshape(-1, 3, 64, 73)),
        "sizes",
        "raised RuntimeError",
    ),
    "no gradient": (Shaded(before=Tensor.detach), "gradient", "straight-through"),
    "rounded": (
        Shaded(features=lambda f: (1000 * f).round() / 1000),
        "gradient",
        "zero everywhere: give such a step",
    ),
    "no reference side": (Shaded(mode="FR"), "features", 'write it, or say mode="NR"'),
    "rows": (Compared(rows=lambda r: r.cumsum(0)), "references", "of one reference for all"),
}


@pytest.mark.parametrize("mistake", WRONG)
def test_a_mistake_is_found_by_the_check_that_asks_for_it(mistake: str) -> None:
    model, check, words = WRONG[mistake]
    found = failures(model)
    assert words in found[check]
    # Of dropout the rows differ as well: each pass draws its own.
    assert set(found) == {check} | ({"rows"} if mistake == "dropout" else set())


def test_scores_that_depend_on_their_neighbours() -> None:
    assert set(failures(Shaded(features=lambda f: f - 999 * (f - f.mean(0))))) == {"rows"}


def test_a_network_in_training() -> None:
    assert "found training" in failures(Shaded(), frozen=False)["frozen"]
    assert "want a gradient" in failures(Shaded().eval(), frozen=False)["frozen"]


def test_a_score_a_little_outside_its_range_is_no_mistake() -> None:
    assert not failures(Shaded(high=49.0))


def test_the_verb_says_it_and_exits(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-model", "lpips"]) == 0
    said = capsys.readouterr().out.splitlines()
    assert len(said) == len(CHECKS) + 1 and said[-1] == "lpips conforms"
    assert main(["check-model", "lpipss"]) == 2
    assert "did you mean 'lpips'" in capsys.readouterr().err
