"""The records every stage leaves behind: one schema, checked when written, read by everything else.

This module knows column names, types and units; it must not know how a number is computed or
stored.  Units: ``radius`` is l2 in the image tensor in [0, 1]; ``score``, ``lower``, ``upper`` are
on the defended model's own scale; seconds are wall-clock; ``confidence`` is per side.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

SCHEMA_VERSION = 1

Status = Literal["ok", "abstained", "failed", "skipped"]
Claim = Literal["population", "deployed"]
Rigor = Literal["proved", "first-order", "empirical"]
Weights = Literal["trained", "random"]
Finite = Annotated[float, Field(allow_inf_nan=False)]


class Record(BaseModel):
    """Base of all records: unknown columns are refused, values never change once written."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    table: ClassVar[str]
    key: ClassVar[tuple[str, ...]]
    """Columns that identify a row; two rows with the same key and different values conflict."""
    later: ClassVar[tuple[str, ...]] = ()
    """Columns that tables of earlier versions lack."""

    status: Status
    reason: str | None = None

    @model_validator(mode="after")
    def _reason_for_every_exception(self) -> Self:
        if self.status != "ok" and not self.reason:
            raise ValueError(f"a record with status {self.status!r} needs a reason")
        return self


class FitRecord(Record):
    """One trained part (FTN + scorer, or a denoiser)."""

    table: ClassVar[str] = "fit"
    key: ClassVar[tuple[str, ...]] = ("artifact",)
    later: ClassVar[tuple[str, ...]] = ("saturated_share", "filter_ratio", "shipped")
    artifact: str
    """Content key of the trained part: SHA-256 of recipe, data, weights and code."""
    part: str
    dataset: str
    model: str | None
    sigma: Finite | None
    """None where one part serves every noise level (noise-conditioned denoiser)."""
    sha256: str | None = None
    parameters: int | None = None
    epochs: int | None = None
    train_loss: list[Finite] = []
    validation_loss: list[Finite] = []
    seconds: Finite = 0.0
    saturated_share: Finite | None = None
    """FTN: share of its outputs on held-out images where the sigmoid has under 5 % of its largest
    slope. Where it is large, so are the radii, but only to first order."""
    filter_ratio: Finite | None = None
    """Denoiser: squared error on held-out images over that of the best Gaussian filter, at the
    noise level where it is worst. From 1 it is not worth its name."""
    shipped: bool | None = None
    """Came with the package; epochs, losses and seconds are those of its training, earlier."""


class DrawRecord(Record):
    """All scores drawn for one image by one smoother: the sufficient statistic of every bound."""

    table: ClassVar[str] = "draws"
    key: ClassVar[tuple[str, ...]] = ("dataset", "model", "smoother", "sigma", "image")
    dataset: str
    model: str
    smoother: str
    sigma: Finite
    image: str
    scores: list[Finite] = []
    """Sorted ascending, as drawn (float32 values)."""
    coefficient: Finite | None = None
    """r = coefficient * radius: 1/sigma for input noise, ||J||_2/sigma_f for feature noise."""
    tabulated_radius: list[Finite] = []
    tabulated_r: list[Finite] = []
    """For smoothers whose r is no multiple of the radius; empty otherwise."""
    spectral_estimate: Finite | None = None
    spectral_upper: Finite | None = None
    spectral_method: str | None = None
    spectral_products: int | None = None
    spectral_delta: Finite | None = None
    forward_passes: Finite = 0.0
    seconds: Finite = 0.0
    """In this run; its first draws may be an earlier one's."""


class EvaluationRecord(Record):
    """One defended image: estimate, bounds at its native radius, and the whole curve."""

    table: ClassVar[str] = "evaluate"
    key: ClassVar[tuple[str, ...]] = ("dataset", "model", "defense", "sigma", "image")
    dataset: str
    model: str
    edition: str
    weights: Weights = "trained"
    """Of the model; scores of random ones are no result."""
    mode: Literal["NR", "FR"]
    defense: str
    smoother: str
    statistic: str
    sigma: Finite
    image: str
    group: str
    """Photograph the image was made from: the unit of clustering in every bootstrap."""
    height: int | None = None
    width: int | None = None
    """Pixels (None where the image could not be read)."""
    mos: Finite
    """Human score, higher is better."""
    higher_is_better: bool
    """Direction of the defended score (FS-IQA predicts quality, LPIPS a distance)."""
    range_low: Finite
    range_high: Finite
    """The defended score always lies in this range."""
    undefended: Finite | None = None
    undefended_higher_is_better: bool
    score: Finite | None = None
    samples: int | None = None
    confidence: Finite
    claim: Claim
    rigor: Rigor
    delta: Finite = 0.0
    """Failure probability of the radius itself (Lanczos bound); 0 where it is exact."""
    radius: Finite | None = None
    """Native radius, l2: r = 1 noise units (sigma, or sigma_f/||J||_2)."""
    r: Finite | None = None
    lower: Finite | None = None
    upper: Finite | None = None
    lower_rank: int | None = None
    upper_rank: int | None = None
    at_ceiling: bool | None = None
    deployed_lower: Finite | None = None
    deployed_upper: Finite | None = None
    """Interval for a fresh estimate of the same n, failure 1 - confidence per side."""
    native_radius: Finite | None = None
    native_tolerance: Finite | None = None
    native_reason: str | None = None
    """RS-Reg's and Cert-Reg's own certificate: radius at which a fresh estimate stays within
    ``native_tolerance`` of the clean score with probability P; the reason where it abstains."""
    curve_radius: list[Finite] = []
    curve_lower: list[Finite] = []
    curve_upper: list[Finite] = []
    curve_at_ceiling: list[bool] = []
    """Population bounds on the profile's radius grid (l2)."""


class TimeRecord(Record):
    """Repeated end-to-end runs of one model x defence on one image, after warm-up."""

    table: ClassVar[str] = "time"
    later: ClassVar[tuple[str, ...]] = ("code_sha256",)
    key: ClassVar[tuple[str, ...]] = (
        "dataset",
        "model",
        "defense",
        "sigma",
        "device",
        "edition",
        "precision",
        "height",
        "width",
        "samples",
        "axis",
        "batch",
    )
    dataset: str
    model: str
    defense: str
    sigma: Finite
    device: str
    weights: Weights
    precision: str = "float32"
    height: int
    width: int
    samples: int
    samples_measured: int | None = None
    """Draws really made, where fewer than ``samples``: seconds of draws are scaled up from them."""
    edition: str = ""
    axis: Literal["table", "samples", "pixels", "batch", "norm"] = "table"
    """``table``: one row per model x defence; ``norm``: the Jacobian's norm alone, Lanczos against
    exact; else the axis along which this is one point."""
    batch: int | None = None
    """Rows of one forward pass."""
    threads: int
    seconds_certified: list[Finite] = []
    seconds_uncertified: list[Finite] = []
    seconds_forward: list[Finite] = []
    """One plain forward pass of the undefended model, same image, same run."""
    forward_passes_certified: Finite | None = None
    forward_passes_uncertified: Finite | None = None
    spectral_products: int | None = None
    """Jacobian products that the certificate took (feature noise)."""
    seconds_lanczos: list[Finite] = []
    seconds_exact: list[Finite] = []
    """Scaled up where fewer backward products were made than there are features."""
    exact_products: int | None = None
    exact_products_measured: int | None = None
    bound_over_estimate: Finite | None = None
    bound_over_exact: Finite | None = None
    """How far the Lanczos bound is above its estimate, and above the exact norm."""
    peak_memory_bytes: int | None = None
    """Beyond what was held before; of the device's allocator, or of the process on a CPU."""
    flops_forward: Finite | None = None
    flops_certified: Finite | None = None
    flops_uncertified: Finite | None = None
    """Operations of matrix products and convolutions: one plain pass, and the whole defence."""
    peak_flops: Finite | None = None
    """Operations per second of the device's matrix product, same run and precision."""
    score_deviation: Finite | None = None
    bound_deviation: Finite | None = None
    """Reduced precision: largest difference to float32 on the same noise, score and bounds."""
    repeat_scores: list[Finite] = []
    """Defended score of the same image under fresh noise, one per repeat (output stability)."""
    range_low: Finite | None = None
    range_high: Finite | None = None
    code_sha256: str = ""
    """Of the code that measured, where no plan says it (timing suites)."""


class AttackRecord(Record):
    """One I-FGSM attack at one strength on one image, scored by the model or by a defence of it."""

    table: ClassVar[str] = "attack"
    later: ClassVar[tuple[str, ...]] = ("attack",)
    key: ClassVar[tuple[str, ...]] = (
        "dataset",
        "model",
        "defense",
        "sigma",
        "attack",
        "norm",
        "epsilon",
        "direction",
        "image",
    )
    dataset: str
    model: str
    defense: str
    """``undefended`` or a defence name."""
    sigma: Finite
    attack: Literal["white-box", "transfer"] = "white-box"
    """``transfer``: made on the undefended model, scored by the defence.  Runs from before the
    column have white-box attacks only."""
    norm: Literal["linf", "l2"]
    epsilon: Finite
    direction: Literal["up", "down"]
    image: str
    group: str
    steps: int
    score_before: Finite | None = None
    score_after: Finite | None = None
    range_low: Finite
    range_high: Finite


class AuditRecord(Record):
    """One attack on one claim, decided with fresh samples."""

    table: ClassVar[str] = "audit"
    key: ClassVar[tuple[str, ...]] = ("dataset", "model", "defense", "sigma", "image", "planted")
    later: ClassVar[tuple[str, ...]] = ("planted",)
    dataset: str
    model: str
    defense: str
    sigma: Finite
    image: str
    planted: str = ""
    """Empty for the claim as it was made; otherwise what was made wrong in it on purpose, and
    ``radius``, ``lower`` and ``upper`` are those of the wrong claim."""
    group: str
    rigor: Rigor
    radius: Finite | None = None
    lower: Finite | None = None
    upper: Finite | None = None
    worst_low: Finite | None = None
    worst_high: Finite | None = None
    """Fresh estimates at the strongest points found downwards and upwards."""
    worst_low_limit: Finite | None = None
    worst_high_limit: Finite | None = None
    """Confidence limits of the population statistic there (upper limit of the low one, lower limit
    of the high one): the claim is violated only if these lie outside [lower, upper]."""
    violated: bool | None = None
    interval_use: Finite | None = None
    """Largest excursion as a share of the certified half-width on that side; > 1 is outside."""
    displacement_ratio: Finite | None = None
    """Feature-space defences: max ||B(x+u) - B(x)|| / sigma_f over the ball; > 1 breaks the
    linearisation."""
    verified_radius: Finite | None = None
    """Largest radius of the tried grid at which the attack broke neither test (empirical)."""
    fresh_samples: int | None = None


class CalibrationRecord(Record):
    """Line mos = intercept + slope * score of the undefended model on training images.

    It puts widths of different scales into human-score units.
    """

    table: ClassVar[str] = "calibration"
    key: ClassVar[tuple[str, ...]] = ("dataset", "model")
    dataset: str
    model: str
    slope: Finite | None = None
    intercept: Finite | None = None
    mos_std: Finite | None = None
    images: int = 0
    model_title: str | None = None
    """The card's title, which names any part that is not the authors'."""
    weights: Weights = "trained"
    model_sha256: str | None = None
    """Digest of parameters and code."""
    dataset_title: str | None = None
    label_kind: str | None = None


class TrainingImageRecord(Record):
    """A training or validation image that cannot be used; those that can leave no record."""

    table: ClassVar[str] = "training"
    key: ClassVar[tuple[str, ...]] = ("dataset", "image")
    dataset: str
    image: str


class PictureRecord(Record):
    """An attacked image as a person would see it, for the report's worked examples."""

    table: ClassVar[str] = "pictures"
    key: ClassVar[tuple[str, ...]] = ("dataset", "model", "defense", "sigma", "image")
    dataset: str
    model: str
    defense: str
    sigma: Finite
    image: str
    norm: Literal["linf", "l2"]
    epsilon: Finite
    original_png: str | None = None
    attacked_png: str | None = None
    """8-bit PNG files, base64."""


RECORD_TYPES: tuple[type[Record], ...] = (
    FitRecord,
    CalibrationRecord,
    TrainingImageRecord,
    DrawRecord,
    EvaluationRecord,
    TimeRecord,
    AttackRecord,
    AuditRecord,
    PictureRecord,
)
BY_TABLE: dict[str, type[Record]] = {kind.table: kind for kind in RECORD_TYPES}
VOLATILE: frozenset[str] = frozenset(
    {
        "seconds",
        "seconds_certified",
        "seconds_uncertified",
        "seconds_forward",
        "peak_memory_bytes",
        "peak_flops",
    }
)
"""Columns that legitimately differ between two runs of the same plan."""
CONSTANT = {
    ("dataset", "image"): ("mos", "group"),
    ("dataset", "model", "image"): ("undefended", "undefended_higher_is_better", "mode"),
    ("dataset", "model", "smoother"): ("range_low", "range_high", "higher_is_better"),
}
"""Columns that depend on some of the key only."""
