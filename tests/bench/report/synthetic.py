"""A made-up run with different numbers on every axis; no model is involved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd

from bench.analysis.source import FrameRun
from bench.plan.profile import DataSection, Profile
from bench.plan.units import Cell
from bench.records.completeness import Completeness

MODELS = {"koncept": "NR", "dbcnn": "NR", "lpips": "FR", "dists": "FR"}
DEFENSES = ("ms", "dms-iqa", "fs-iqa")
SIGMAS = (0.1, 0.5)
RADII = (0.01, 0.03, 0.1, 0.3, 1.0)
NOISE = {"rs-reg": 0.9, "cert-reg": 0.9, "ms": 0.9, "dms": 0.6, "dms-iqa": 0.5, "fs-iqa": 0.25}
SMOOTHERS = {"dms": "denoised", "dms-iqa": "denoised-iqa"}

PAPERS = DataSection(nr="koniq10k", fr="kadid10k")


def synthetic_run(
    *,
    models: tuple[str, ...] = tuple(MODELS),
    defenses: tuple[str, ...] = DEFENSES,
    sigmas: tuple[float, ...] = SIGMAS,
    images: int = 24,
    broken: bool = True,
    stages: tuple[str, ...] = ("evaluate", "time", "attack", "audit", "calibration", "fit"),
    edition: str = "compact",
) -> FrameRun:
    """A run; ``broken`` adds failed and abstained records and an unequal set."""
    profile = Profile(
        name="synthetic",
        edition=edition,
        models=models,
        defenses=defenses,
        sigmas=sigmas,
        seed=7,
        data=PAPERS if edition == "published" else DataSection(),
    )
    all_models = {**MODELS, "hyperiqa": "NR", "dreamsim": "FR"}
    makers = {
        "evaluate": lambda: _evaluate(models, all_models, defenses, sigmas, images, broken),
        "time": lambda: _time(models, defenses, sigmas),
        "attack": lambda: _attack(),
        "audit": lambda: _audit(models, defenses, sigmas),
        "calibration": lambda: _calibration(models),
        "fit": lambda: _fit(),
    }
    cells = [Cell("embedded", *names) for names in product(models, defenses, sigmas)]
    unread = Cell("embedded", "lpips", "ms", 0.5)
    if broken and unread not in cells:
        cells[-1] = unread
    return FrameRun(
        profile=profile,
        tables={name: makers[name]() for name in stages},
        completeness=Completeness(
            tuple(cells), {unread: "evaluate: image could not be read"} if broken else {}, {}
        ),
        provenance={
            "plan_sha256": "0123456789abcdef" * 4,
            "code_sha256": "ab" * 32,
            "data_sha256": {"embedded": "cd" * 32},
            "weights_sha256": {"koncept.safetensors": "ef" * 32, "lpips.safetensors": "12" * 32},
            "versions": {"python": "3.11", "numpy": "2.4"},
            "started": "2026-01-02T03:04:05+00:00",
        },
        cards=tuple(_card(name) for name in defenses),
    )


def _unit(*key: object) -> np.random.Generator:
    return np.random.default_rng([ord(c) for c in "|".join(map(str, key))])


def _evaluate(
    models: Sequence[str],
    modes: Mapping[str, str],
    defenses: Sequence[str],
    sigmas: Sequence[float],
    images: int,
    broken: bool,
) -> pd.DataFrame:
    rows = []
    for model in models:
        for image in range(images):
            quality = _unit("mos", image).uniform(1, 5)
            for defense in defenses:
                for sigma in sigmas:
                    rows.append(_record(model, modes[model], defense, sigma, image, quality))
    frame = pd.DataFrame(rows)
    if broken:
        _break(frame)
    return frame


def _record(
    model: str, mode: str, defense: str, sigma: float, image: int, quality: float
) -> dict[str, Any]:
    feature = defense == "fs-iqa"
    up = feature or mode == "NR"
    noise = NOISE[defense] * (1 if feature else 1 + 4 * sigma) * (1.3 if mode == "FR" else 1)
    shared = (
        ("draw", model, sigma, image)
        if NOISE[defense] == 0.9
        else ("draw", model, defense, sigma, image)
    )
    draw = _unit(*shared).normal()
    seen = np.clip((quality - 1) / 4 + noise * draw * 0.3, 0, 1)
    low, high = (1.0, 5.0) if feature else (0.0, 1.0)
    score = low + (high - low) * (seen if up else 1 - seen)
    own = np.clip((quality - 1) / 4 + 0.08 * _unit("own", model, image).normal(), 0, 1)
    scale = float(np.exp(_unit("norm", model, image).normal()))
    radius = sigma * (0.2 * scale if feature else 1.0)
    width = [(high - low) * min(1.0, (0.02 + 0.05 * noise) * (1 + r / radius)) for r in RADII]
    lower = [max(low, score - w / 2) for w in width]
    upper = [min(high, score + w / 2) for w in width]
    half = (high - low) * (0.02 + 0.05 * noise)
    native = defense in ("rs-reg", "cert-reg")
    return {
        "status": "ok",
        "reason": None,
        "dataset": "embedded",
        "model": model,
        "edition": "compact",
        "mode": mode,
        "defense": defense,
        "smoother": SMOOTHERS.get(defense, "features" if feature else "input"),
        "statistic": "median",
        "sigma": sigma,
        "image": f"photo{image // 2}/img{image}",
        "group": f"photo{image // 2}",
        "height": 96,
        "width": 128,
        "mos": quality,
        "higher_is_better": up,
        "range_low": low,
        "range_high": high,
        "undefended": own if mode == "NR" else 1 - own,
        "undefended_higher_is_better": mode == "NR",
        "score": score,
        "samples": 2000,
        "confidence": 0.999,
        "claim": "population",
        "rigor": "first-order" if feature else "proved",
        "delta": 0.001 if feature else 0.0,
        "radius": radius,
        "r": 1.0,
        "lower": max(low, score - half),
        "upper": min(high, score + half),
        "lower_rank": 268,
        "upper_rank": 1733,
        "at_ceiling": False,
        "deployed_lower": max(low, score - 1.1 * half),
        "deployed_upper": min(high, score + 1.1 * half),
        "native_radius": 0.5 * sigma if native and image % 4 else None,
        "native_tolerance": 0.1 if native else None,
        "native_reason": "too few valid draws" if native and image % 4 == 0 else None,
        "curve_radius": list(RADII),
        "curve_lower": lower,
        "curve_upper": upper,
        "curve_at_ceiling": [r > 2.7 * radius for r in RADII],
    }


def _break(frame: pd.DataFrame) -> None:
    """One failed record, two abstentions, so one set is unequal."""
    failed = frame.index[
        (frame["model"] == "lpips") & (frame["defense"] == "ms") & (frame["sigma"] == 0.5)
    ][:1]
    nothing = ["score", "radius", "lower", "upper", "r", "deployed_lower", "deployed_upper"]
    frame.loc[failed, "status"] = "failed"
    frame.loc[failed, "reason"] = "image could not be read"
    frame.loc[failed, nothing] = None
    abstained = frame.index[(frame["model"] == "koncept") & (frame["defense"] == "fs-iqa")][:2]
    frame.loc[abstained, "status"] = "abstained"
    frame.loc[abstained, "reason"] = "spectral norm below tau"
    frame.loc[abstained, nothing[1:]] = None
    for index in (*failed, *abstained):
        for column in ("curve_radius", "curve_lower", "curve_upper", "curve_at_ceiling"):
            frame.at[index, column] = []


def _time(models: Sequence[str], defenses: Sequence[str], sigmas: Sequence[float]) -> pd.DataFrame:
    rows = []
    for i, model in enumerate(models):
        for j, defense in enumerate(defenses):
            base = (1 + i) * (0.9 if defense == "fs-iqa" else 1 + 0.4 * j)
            plain = 0.01 * (1 + i) if defense == "fs-iqa" else 0.95 * base
            for sigma in sigmas:
                rows.append(
                    {
                        "status": "ok",
                        "reason": None,
                        "dataset": "embedded",
                        "model": model,
                        "defense": defense,
                        "sigma": sigma,
                        "device": "cpu",
                        "weights": "trained",
                        "precision": "float32",
                        "height": 96,
                        "width": 128,
                        "samples": 2000,
                        "threads": 1,
                        "seconds_certified": [base, base * 1.1],
                        "seconds_uncertified": [plain, plain * 1.1],
                        "seconds_forward": [0.002, 0.002 * (1 + i)],
                        "forward_passes_certified": 41.0 if defense == "fs-iqa" else 2000.0 + j,
                        "forward_passes_uncertified": 1.0 if defense == "fs-iqa" else 2000.0,
                        "peak_memory_bytes": 10**8 * (1 + i + j),
                        "flops_forward": None,
                        "peak_flops": None,
                        "repeat_scores": [0.5, 0.5 + 0.0002 * (1 + j), 0.5 - 0.0001 * (1 + i)],
                        "range_low": 0.0,
                        "range_high": 1.0,
                    }
                )
    return pd.DataFrame(rows)


def _attack() -> pd.DataFrame:
    rows = []
    kinds = (
        ("undefended", "white-box", 0.5),
        ("fs-iqa", "transfer", 0.15),
        ("fs-iqa", "white-box", 0.6),
    )
    for defense, kind, factor in kinds:
        for norm, scale in (("linf", 1.0), ("l2", 0.1)):
            for epsilon in (0.02, 0.1, 0.25):
                for image in range(6):
                    before = 0.4 + 0.02 * image
                    gain = factor * scale * min(1, 8 * epsilon) * (1 + 0.1 * image)
                    rows.append(
                        {
                            "status": "ok",
                            "reason": None,
                            "dataset": "embedded",
                            "model": "koncept",
                            "defense": defense,
                            "sigma": 0.1,
                            "attack": kind,
                            "norm": norm,
                            "epsilon": epsilon,
                            "direction": "up",
                            "image": f"photo{image}/a",
                            "group": f"photo{image}",
                            "steps": 10,
                            "score_before": before,
                            "score_after": before + gain,
                            "range_low": 0.0,
                            "range_high": 1.0,
                        }
                    )
    return pd.DataFrame(rows)


def _audit(models: Sequence[str], defenses: Sequence[str], sigmas: Sequence[float]) -> pd.DataFrame:
    rows = []
    for i, model in enumerate(models):
        for defense in defenses:
            for sigma in sigmas:
                for image in range(3):
                    broken = defense == "fs-iqa" and model == models[0] and image == 0
                    rows.append(
                        {
                            "status": "ok",
                            "reason": None,
                            "dataset": "embedded",
                            "model": model,
                            "defense": defense,
                            "sigma": sigma,
                            "image": f"photo{image}/a",
                            "group": f"photo{image}",
                            "rigor": "first-order" if defense == "fs-iqa" else "proved",
                            "radius": 0.1 * (1 + i) * sigma,
                            "lower": 0.4,
                            "upper": 0.6,
                            "worst_low": 0.45,
                            "worst_high": 0.55,
                            "worst_low_limit": 0.46,
                            "worst_high_limit": 0.54,
                            "violated": broken,
                            "interval_use": 1.2 if broken else 0.4 + 0.1 * image + 0.05 * i,
                            "displacement_ratio": 1.01 if defense == "fs-iqa" else None,
                            "verified_radius": 0.15 * (1 + i) * sigma,
                            "fresh_samples": 10000,
                        }
                    )
    return pd.DataFrame(rows)


def _calibration(models: Sequence[str]) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "status": "ok",
                "reason": None,
                "dataset": "embedded",
                "model": model,
                "slope": 4.0 + i,
                "intercept": 1.0,
                "mos_std": 1.1,
                "images": 100,
            }
            for i, model in enumerate(models)
        ]
    )


def _fit() -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                "status": "ok",
                "reason": None,
                "artifact": f"{part}-{i}",
                "part": part,
                "dataset": "embedded",
                "model": model,
                "sigma": None,
                "sha256": f"{i}a" * 32,
                "parameters": 1000 + i,
                "epochs": 3 + i,
                "train_loss": [1.0, 0.5],
                "validation_loss": [1.1, 0.6],
                "seconds": 1.5 + i,
            }
            for i, (part, model) in enumerate((("ftn", "koncept"), ("denoiser", None)))
        ]
    )


def _card(name: str) -> dict:
    return {
        "name": name,
        "norm": "l2",
        "claim": "population",
        "rigor": "first-order" if name == "fs-iqa" else "proved",
        "statement": f"The smoothed score of {name} stays in the interval.",
        "assumptions": ["deterministic base model", "Gaussian noise"],
        "trained": "nothing" if name == "ms" else "a small network",
        "cost": "N forward passes",
        "applies_to": "smoothed model",
    }
