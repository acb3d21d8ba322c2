"""What is known of one picture under a defence, as one frozen value.

It knows names and numbers; it must not know how any of them was computed or is printed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from bench.measure.single import Answer
from defenses.base import Array, Claim, Rigor


@dataclass(frozen=True, slots=True)
class DefendedScore:
    """A defended score with what is guaranteed of it, or the reason why nothing is.

    Attributes:
        model, defense: Names.
        sigma: Noise level: image units, or feature units for FS-IQA.
        score: The defended score; None where the draws were no numbers.
        lower, upper: Every image within the radius has its defended score in between; None where
            the defence abstained.  Not rounded: when printed, round outwards.
        radius: l2, in units of the image tensor in [0, 1]; None where the defence abstained.
        reason: Why there is no interval; None if there is one.
        claim: ``population``: of the smoothed model, or ``deployed``: of a fresh estimate.
        rigor: ``proved``, or ``first-order``: the radius rests on a linearisation.
        statement, assumptions: What is promised, and under what.
        failure: Probability that the promise is wrong; None where the radius is not proved.
        undefended: Plain score of the model.
        score_range: Range of the defended score.
        higher_is_better: Its direction.
        samples: Number of draws.
        draws: Scores under noise, sorted, read-only ``(samples,)``.
        columns: Everything else that a record would hold, by name.
    """

    model: str
    defense: str
    sigma: float
    score: float | None
    lower: float | None
    upper: float | None
    radius: float | None
    reason: str | None
    claim: Claim
    rigor: Rigor
    statement: str
    assumptions: tuple[str, ...]
    failure: float | None
    undefended: float | None
    score_range: tuple[float, float]
    higher_is_better: bool
    samples: int
    draws: Array = field(repr=False, compare=False)
    columns: Mapping[str, Any] = field(repr=False, compare=False)

    @property
    def abstained(self) -> bool:
        """Whether there is no interval; ``reason`` says why."""
        return self.reason is not None

    @property
    def width(self) -> float | None:
        """Length of the interval; None where there is none."""
        return None if self.lower is None or self.upper is None else self.upper - self.lower

    @classmethod
    def of(cls, answer: Answer) -> DefendedScore:
        """The same from plain values."""
        known = answer.columns
        answer.draws.setflags(write=False)
        low, high = known["range"]
        values: dict[str, Any] = {name: known[name] for name in _COPIED}
        return cls(
            **values | {name: known.get(name) for name in _MAYBE},
            assumptions=tuple(known["assumptions"]),
            score_range=(low, high),
            draws=answer.draws,
            columns=MappingProxyType(known),
        )


_COPIED = (
    *("model", "defense", "sigma", "samples", "failure"),
    *("claim", "rigor", "statement", "higher_is_better"),
)
_MAYBE = ("score", "lower", "upper", "radius", "reason", "undefended")
