"""Profiles: everything a run depends on, as one validated, frozen value read from TOML.

This module knows settings, their defaults and why; it must not know how any of them is used.
Every choice that the paper leaves open is a setting here with one line of reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
LEAST_SIGMA, GREATEST_SIGMA = 1e-6, 1e6
"""Noise levels, in units of the image: less is lost in a pixel's float32, and far above 1 nothing
of a picture is left."""
Sigma = Annotated[float, Field(ge=LEAST_SIGMA, le=GREATEST_SIGMA)]
NoiseKind = Literal["input", "features"]


class Section(BaseModel):
    """Base of all sections: unknown settings are errors, values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class DataSection(Section):
    """Which data sets, and how many test images of each."""

    nr: str = "embedded"
    """Data set for no-reference models: a plugin name or a path to a dataset.toml."""
    fr: str = "embedded"
    """Data set for full-reference models."""
    balance: tuple[str, ...] = ()
    """Further attributes of the images, beside photograph, distortion and level, that a choice of
    them spreads over: `camera`, `country`."""
    train: str | None = None
    """Another data set to train on, its scores mapped by the stated ranges; None trains on each
    data set's own training part."""
    limit: Count | None = None
    """Test images per data set (stratified, deterministic); None takes all."""
    limits: dict[str, Count] = Field(default_factory=dict)
    """Fewer test images for single models, by name: one whose passes cost ten times another's.
    A smaller choice is part of a larger one."""
    train_limit: Count | None = None
    """Training images per data set; None takes all."""


class SpectralSection(Section):
    """How ||J||_2 is bounded for feature-space noise."""

    method: Literal["lanczos", "exact"] = "lanczos"
    steps: Count = 20
    """20 steps bound the norm within 3.7 % whatever the spectrum (Lanczos, started in 512-d)."""
    delta: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    """Failure probability of the bound; entered in the alpha ledger."""
    tolerance: Positive | None = 0.01
    """Stop early once every a-posteriori bound is this close to its estimate."""
    batch: Count = 8
    """Images linearised together."""


class NativeSection(Section):
    """RS-Reg's and Cert-Reg's own certificates (open in the paper)."""

    tolerance: Positive = 0.1
    """eps_y: accepted output deviation, as a share of the score range."""
    probability: Annotated[float, Field(gt=0, lt=1)] = 0.8
    """P: required probability of a valid output (the authors' script default)."""
    discount: Positive = 1.0
    """beta: relaxes RS-Reg's tolerance to (1 + beta) eps_y."""


class CertificateSection(Section):
    """Sampling and confidence of every certificate."""

    samples: Count = 2000
    """N for input-noise smoothers."""
    feature_samples: Count = 2000
    """N for feature-noise smoothers (cheap: no forward pass of the backbone)."""
    confidence: Annotated[float, Field(gt=0.5, lt=1)] = 0.999
    """Per side; the paper's 'alpha = 0.999'."""
    familywise: bool = False
    """Split the failure probability, the radius' own too, over all certificates (Bonferroni)."""
    tau: Positive = 1e-3
    """FS-IQA abstains where ||J||_2 < tau."""
    radii: tuple[Positive, ...] = (
        *(0.001, 0.003, 0.01, 0.02, 0.03, 0.05),
        *(0.1, 0.2, 0.3, 0.5, 0.75, 1.0),
    )
    """l2 radii of every certificate's curve, image units."""
    batch: Count = 32
    """Noisy images per forward pass where the memory of a pass cannot be measured; a CPU's passes
    have a fixed size, so that scores are the same bits whatever stands here."""
    memory_gib: Positive = 8.0
    """Memory that the passes of an accelerator may take."""
    precision: Literal["float32", "tf32", "bf16"] = "float32"
    """What scores are computed in; Jacobians are never computed below float32."""
    compile: bool = False
    """Run input-noise passes through torch.compile; the first pass of each image size is slow."""
    spectral: SpectralSection = SpectralSection()
    native: NativeSection = NativeSection()

    def draws(self, noise_kind: NoiseKind) -> int:
        """Draws per certificate of a smoother."""
        return self.samples if noise_kind == "input" else self.feature_samples


class FitSection(Section):
    """Training of one kind of part."""

    noise_levels: Literal["each", "all"] = "each"
    """One part for each noise level (as in the papers), or one told the level that serves all."""
    epochs: Count
    batch: Count
    learning_rate: Positive
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    images: Count | None = None
    """Training images (evenly spaced choice); None takes all.  The FTN always takes all: its
    features are cached."""
    crop: Count | None = None
    """Side of the random square crops that denoisers learn pixels on; None takes whole images."""
    score_epochs: Count = 1
    """DMS-IQA: epochs with all three losses, on whole images, after the pixel epochs."""
    score_learning_rate: Positive | None = None
    """Of these; None takes ``learning_rate``."""
    precision: Literal["float32", "bf16"] = "float32"
    """bf16: mixed precision, products and convolutions in bfloat16; weights stay float32."""
    patience: Count = 10
    """Epochs without a better validation loss before stopping."""
    width: Count
    """Hidden units (FTN's scorer, at least 2) or channels (denoisers)."""
    """The paper's denoisers: DnCNN with 64 channels."""
    depth: Count
    """Convolutions of a DnCNN, levels of a U-Net; unused by the FTN."""
    spread: Positive = 0.5
    """FTN: largest standard deviation of what goes into a sigmoid, over the training images.  At
    two of them, 1.0, a sigmoid keeps 79 % of its slope, so the linearisation behind the radius is
    fair; a smaller one trades width for native radius, and at equal radius little changes."""
    ridge_tolerance: Annotated[float, Field(ge=0, lt=1)] = 0.02
    """FTN: share of the explained variance of validation scores that a stronger ridge penalty may
    cost where it starts; the stronger, the smaller the Jacobian."""
    held_out: Literal["apart", "refit"] = "apart"
    """FTN: what becomes of the validation images once they have chosen the penalty and the number
    of epochs.  refit: it is trained once more for as long, on them as well, as the model's own head
    often was."""
    stride: Count = 1
    """Denoisers work on pixel-unshuffled images of this factor (1: full resolution)."""
    shipped: bool = False
    """Take the part that comes with the package where one was made for this network, these training
    photographs and this model; what is above about training is then for ``--retrain``."""
    pixel_weight: float = 1.0
    score_weight: float = 1.0
    rank_weight: float = 1.0
    """DMS-IQA's loss weights: not published; equal weights on terms of unit scale."""


class TimeSection(Section):
    """Timing of every model x defence."""

    repeats: Count = 5
    warmup: Count = 1
    samples: Count | None = None
    """None: the certificate's own number of samples."""


class AttackSection(Section):
    """I-FGSM of Figure 4."""

    models: tuple[str, ...] = ("koncept",)
    defenses: tuple[str, ...] = ("undefended", "fs-iqa")
    sigma: Sigma = 0.25
    norms: tuple[Literal["linf", "l2"], ...] = ("linf", "l2")
    epsilons: tuple[Positive, ...] = (0.02, 0.05, 0.1, 0.15, 0.2, 0.25)
    """The paper's strengths, in every norm."""
    faint: tuple[Positive, ...] = (1 / 2550, 1 / 1275, 1 / 510, 1 / 255, 2 / 255, 4 / 255)
    """Smaller strengths in linf, from a tenth of an 8-bit level: at 0.02 most of a score range is
    used up already.  In l2 the paper's strengths are far from that."""
    steps: Count = 10
    images: Count = 100
    expectation: Count = 256
    """Draws per gradient of a feature-noise defence (one backbone pass for all of them)."""
    pictures: Annotated[int, Field(ge=0)] = 6
    """Attacked images that are kept as pictures for the report, at the strength below."""
    picture_epsilon: Positive = 0.05

    def strengths(self, norm: Literal["linf", "l2"]) -> tuple[float, ...]:
        """Strengths tried in a norm, rising.

        >>> AttackSection(epsilons=(0.1,), faint=(0.01,)).strengths("linf")
        (0.01, 0.1)
        """
        return tuple(sorted({*self.epsilons, *(self.faint if norm == "linf" else ())}))


class AuditSection(Section):
    """Attacks inside the certified ball."""

    models: tuple[str, ...] | None = None
    """Models whose certificates are attacked; None attacks every model's."""
    images: Count = 10
    """Images per model, set of draws and noise level, for defences whose radius is proved.  Each
    takes the next ones of the designed order: few images each are many photographs in all."""
    first_order_images: Count | None = None
    """The same for defences whose radius is not proved, and every image's own: None takes all, and
    with them the largest radius.  Of fewer, half are those nearest to perfect quality, where
    features of squared differences have the smallest Jacobian."""
    steps: Count = 40
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.8
    """Share of the last direction that a step keeps: averages the noise of a few draws."""
    restarts: Annotated[int, Field(ge=0)] = 1
    """Random starts beside the top singular vector."""
    expectation: Count = 16
    feature_expectation: Count = 256
    looks: Annotated[tuple[Count, ...], Field(min_length=1)] = (200, 2000)
    """Fresh draws of each look at a point; the first clear one is the last."""
    fresh_samples: Count = 10000
    """Draws that decide a violation; at least 10,000 for a claim about a population median."""
    scales: tuple[Positive, ...] = (0.25, 0.5, 0.75, 0.9, 1.0, 1.5, 2.0, 3.0)
    """Multiples of the certified radius tried for the attack-verified radius."""

    def draws_per_gradient(self, noise_kind: NoiseKind) -> int:
        """Draws behind each gradient of an attack."""
        return self.expectation if noise_kind == "input" else self.feature_expectation


class MatchedSection(Section):
    """Smaller noise levels than the tables', for the question of equal radius only."""

    sigmas: tuple[Sigma, ...] = ()
    defenses: tuple[str, ...] = ()
    """Whom the levels are added for; those with one smoother share their draws."""
    models: tuple[str, ...] | None = None
    """None takes every model of the profile."""

    def rows(self, model: str) -> list[tuple[str, float]]:
        """(defence, noise level) of a model's rows."""
        if self.models is not None and model not in self.models:
            return []
        return list(product(self.defenses, self.sigmas))


class ExtrasSection(Section):
    """Rows beside the tables, counted and shown apart from them."""

    defenses: tuple[str, ...] = ()
    """Further defences, at the profile's noise levels."""
    models: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """Models of single ones of these defences, by its name: one that costs ten times another.
    The others take every model of the profile."""
    matched: MatchedSection = MatchedSection()

    @property
    def names(self) -> tuple[str, ...]:
        """All defences that appear here, each once."""
        return tuple(dict.fromkeys((*self.defenses, *self.matched.defenses)))

    @property
    def model_names(self) -> tuple[str, ...]:
        """All models that appear here."""
        limits = (*self.models.values(), self.matched.models or ())
        return tuple(name for names in limits for name in names)

    def rows(self, model: str, sigmas: Sequence[float]) -> list[tuple[str, float]]:
        """(defence, noise level) of a model's rows, in order, each once.

        Args:
            model: The model.
            sigmas: Noise levels of the tables.

        >>> extras = ExtrasSection(defenses=("a",), matched=MatchedSection(
        ...     sigmas=(0.1,), defenses=("b", "a"), models=("lpips",)))
        >>> extras.rows("lpips", (0.1, 0.5)), extras.rows("dists", (0.5,))
        ([('a', 0.1), ('a', 0.5), ('b', 0.1)], [('a', 0.5)])
        """
        chosen = [name for name in self.defenses if model in self.models.get(name, (model,))]
        return list(dict.fromkeys([*product(chosen, sigmas), *self.matched.rows(model)]))

    def narrowed(self, defenses: Sequence[str]) -> ExtrasSection:
        """What stays when only some defences are chosen: as table rows, these are no extras."""
        kept = tuple(name for name in self.matched.defenses if name in defenses)
        matched = self.matched.model_copy(update={"defenses": kept})
        return self.model_copy(update={"defenses": (), "matched": matched})


class Profile(Section):
    """A whole benchmark: the only input of a plan besides the code."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
    """Beginning of the names of a run's folder and of its report's."""
    edition: Literal["compact", "published"]
    seed: Annotated[int, Field(ge=0)] = 2025
    models: tuple[str, ...] = ("dbcnn", "hyperiqa", "koncept", "lpips", "dists", "dreamsim")
    defenses: tuple[str, ...] = ("rs-reg", "cert-reg", "ms", "dms", "dms-iqa", "fs-iqa")
    sigmas: tuple[Sigma, ...] = (0.1, 0.25, 0.5)
    options: dict[str, dict[str, float]] = Field(
        default_factory=lambda: {"cert-reg": {"trim": 0.25}}
    )
    """Numbers of a defence's statistic, by defence: Cert-Reg's trimming share is not stated by
    FS-IQA; 0.25 keeps half of the draws."""
    data: DataSection = DataSection()
    certificate: CertificateSection = CertificateSection()
    fit: dict[str, FitSection] = Field(default_factory=dict)
    """Settings by part name: ``ftn``, ``denoiser``, ``denoiser-iqa``."""
    time: TimeSection = TimeSection()
    attack: AttackSection = AttackSection()
    audit: AuditSection = AuditSection()
    extras: ExtrasSection = ExtrasSection()

    @property
    def all_defenses(self) -> tuple[str, ...]:
        """Defences of the tables, then those beside them."""
        return tuple(dict.fromkeys((*self.defenses, *self.extras.names)))
