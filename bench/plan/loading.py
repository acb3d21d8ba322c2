"""TOML in, a validated profile out; every mistake becomes one sentence naming file and setting.

This module knows files, TOML and overrides; it must not know what a setting is used for.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bench.base.errors import BenchError, invalid, unknown
from bench.plan.profile import ExtrasSection, Profile


@dataclass(frozen=True, slots=True)
class Overrides:
    """What the command line changes in a profile; None leaves a setting as it is.

    Attributes:
        models: Models to run.
        defenses: Defences to run.
        sigmas: Noise levels to run.
        limit: Test images per data set.
        samples: Draws of every certificate, for input and for feature noise alike.
        no_extras: Leaves out the rows beside the tables.
        retrain: Trains in the run what would be taken from the package.
        train: Data set to train on.
    """

    models: tuple[str, ...] | None = None
    defenses: tuple[str, ...] | None = None
    sigmas: tuple[float, ...] | None = None
    limit: int | None = None
    samples: int | None = None
    no_extras: bool = False
    retrain: bool = False
    train: str | None = None

    @property
    def chooses(self) -> bool:
        """Whether anything of the tables is chosen."""
        return replace(self, no_extras=False, retrain=False, train=None) != Overrides()


def built_in_profiles() -> list[str]:
    """Names of the shipped profiles, sorted."""
    folder = resources.files("bench") / "profiles"
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name[-5:] == ".toml")


def load_profile(name: str) -> Profile:
    """Read a shipped profile by name, or any profile by the path of its TOML file.

    >>> load_profile("embedded").edition
    'compact'

    Raises:
        BenchError: There is no such profile, or it is not valid.
    """
    if name.endswith(".toml"):
        path = Path(name)
        if not path.is_file():
            raise BenchError(f"{name}: expected a profile's TOML file, found none.")
        return parse_profile(_read(path), source=name)
    return parse_profile(_built_in(name), source=f"profile {name}")


def _built_in(name: str) -> str:
    """Text of a shipped profile."""
    if name not in built_in_profiles():
        raise unknown("profile", name, built_in_profiles())
    file = resources.files("bench") / "profiles" / f"{name}.toml"
    return file.read_text(encoding="utf-8")


def _read(path: Path) -> str:
    """Text of a file."""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BenchError(f"{path}: expected a readable UTF-8 text file, found {error}.") from error


def parse_profile(text: str, *, source: str) -> Profile:
    """Parse a profile's TOML text.

    A profile that says ``extends = "embedded"`` is that shipped one with its own settings put over
    it, section by section.

    Args:
        text: The file's content.
        source: How to name the file in an error.

    Raises:
        BenchError: With file, setting, what was expected and what was found.
    """
    return validated(_settings(text, source), source=source)


def _settings(text: str, source: str) -> dict[str, Any]:
    try:
        settings = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise BenchError(f"{source}: expected TOML, found a mistake: {error}.") from error
    if "extends" not in settings:
        return settings
    base = str(settings.pop("extends"))
    return over(_settings(_built_in(base), f"profile {base}"), settings)


def over(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with others put over them, section by section.

    >>> over({"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 4}})
    {'a': 1, 'b': {'c': 2, 'd': 4}}
    """
    merged = dict(base)
    for name, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = over(merged[name], value) if both else value
    return merged


def validated(settings: Mapping[str, Any], *, source: str) -> Profile:
    """A profile from plain settings.

    Raises:
        BenchError: With source, setting, what was expected and what was found.
    """
    try:
        profile = Profile.model_validate(settings)
    except ValidationError as error:
        raise BenchError(f"{source}: {invalid(error, whole='the profile')}") from error
    for field in ("models", "defenses", "sigmas"):
        values = getattr(profile, field)
        if not values or len(set(values)) < len(values):
            found = "none" if not values else f"a repetition in {', '.join(map(str, values))}"
            raise BenchError(f"{source}: {field}: expected one or more different, found {found}.")
    return profile


def overridden(profile: Profile, changes: Overrides) -> Profile:
    """A new profile with the command line's choices, validated again.

    >>> overridden(load_profile("embedded"), Overrides(sigmas=(0.1,), samples=64)).sigmas
    (0.1,)

    Raises:
        BenchError: A choice is not valid.
    """
    chosen: dict[str, Any] = {
        field: getattr(changes, field)
        for field in ("models", "defenses", "sigmas")
        if getattr(changes, field) is not None
    }
    if changes.no_extras:
        chosen["extras"] = ExtrasSection()
    elif changes.defenses is not None:
        chosen["extras"] = profile.extras.narrowed(changes.defenses)
    if changes.retrain:
        chosen["fit"] = {
            name: section.model_copy(update={"shipped": False})
            for name, section in profile.fit.items()
        }
    data = {"limit": changes.limit, "train": changes.train}
    if given := {name: value for name, value in data.items() if value is not None}:
        chosen["data"] = profile.data.model_copy(update=given)
    if changes.samples is not None:
        draws = {"samples": changes.samples, "feature_samples": changes.samples}
        chosen["certificate"] = profile.certificate.model_copy(update=draws)
    changed = profile.model_copy(update=chosen)
    # model_copy checks nothing; the round trip does.
    return validated(changed.model_dump(), source="command line")
