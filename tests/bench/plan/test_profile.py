"""Profiles: what is read, what is refused, and in which words."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.base.errors import BenchError
from bench.plan.loading import Overrides, built_in_profiles, load_profile, overridden, parse_profile

HEAD = 'name = "x"\nedition = "compact"\n'


@pytest.mark.parametrize("name", built_in_profiles())
def test_every_shipped_profile_is_valid(name: str) -> None:
    assert load_profile(name).name == name


def test_a_profile_is_read_from_a_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(HEAD + "seed = 7\n")
    assert load_profile(str(path)).seed == 7


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = ", ["expected TOML"]),
        (HEAD + "sead = 1", ["sead", "known setting"]),
        ('name = "x"', ["edition", "found nothing"]),
        (HEAD + 'seed = "many"', ["seed", "valid integer", "'many'"]),
        (
            HEAD + "[certificate]\nconfidence = 1.5",
            ["certificate.confidence", "less than 1", "1.5"],
        ),
        (HEAD + "[certificate]\nsamples = 0", ["certificate.samples", "greater", "0"]),
        (HEAD + "sigmas = []", ["sigmas", "found none"]),
        (HEAD + "sigmas = [0.1, 0.1]", ["sigmas", "repetition"]),
        (HEAD + 'models = "lpips"', ["models", "'lpips'"]),
        (HEAD + "sigmas = [nan]", ["sigmas.0"]),
        (HEAD + "sigmas = [inf]", ["sigmas.0"]),
    ],
)
def test_a_mistake_is_one_sentence_naming_file_setting_and_value(
    text: str, words: list[str]
) -> None:
    with pytest.raises(BenchError) as caught:
        parse_profile(text, source="mine.toml")
    for word in ["mine.toml", *words]:
        assert word in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_profile_extends_a_shipped_one_section_by_section() -> None:
    text = 'extends = "embedded-full"\nname = "mine"\n[data]\nlimit = 7\n'
    mine, base = parse_profile(text, source="mine.toml"), load_profile("embedded-full")
    assert (mine.name, mine.data.limit) == ("mine", 7)
    assert mine.data.nr == base.data.nr
    assert mine.certificate.samples == base.certificate.samples == 400
    assert mine.fit == load_profile("embedded").fit


def test_full_changes_no_model_or_training_of_the_default() -> None:
    full, usual = load_profile("embedded-full"), load_profile("embedded")
    for name in ("edition", "seed", "models", "defenses", "sigmas", "options", "fit"):
        assert getattr(full, name) == getattr(usual, name)
    assert full.attack.images > usual.attack.images
    assert full.attack.model_copy(update={"images": usual.attack.images}) == usual.attack


def test_one_budget_for_every_defence() -> None:
    """A width or a time says nothing beside another one made of more draws."""
    for name in ("embedded", "embedded-full"):
        draws = load_profile(name).certificate
        assert draws.samples == draws.feature_samples


def test_only_a_shipped_profile_is_extended() -> None:
    with pytest.raises(BenchError, match="did you mean 'embedded'"):
        parse_profile('extends = "embeded"\nname = "x"', source="mine.toml")


def test_retrain_takes_nothing_from_the_package() -> None:
    usual = load_profile("embedded")
    assert [name for name, fit in usual.fit.items() if fit.shipped] == ["denoiser", "denoiser-iqa"]
    changed = overridden(usual, Overrides(retrain=True))
    assert not any(fit.shipped for fit in changed.fit.values())
    assert changed.fit["denoiser"].epochs == usual.fit["denoiser"].epochs


def test_unknown_profile_gets_a_hint() -> None:
    with pytest.raises(BenchError, match="did you mean 'embedded'"):
        load_profile("embeded")


@pytest.mark.parametrize("content", [None, b"\xff\xfe\x00"])
def test_unreadable_file(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "p.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(BenchError, match=r"p\.toml: expected"):
        load_profile(str(path))


def test_overrides_change_what_they_name_and_nothing_else() -> None:
    before = load_profile("embedded")
    after = overridden(before, Overrides(("dbcnn", "lpips"), ("ms",), (0.2, 0.4), 3, 64))
    assert (after.models, after.defenses, after.sigmas) == (("dbcnn", "lpips"), ("ms",), (0.2, 0.4))
    assert (after.data.limit, after.data.nr) == (3, before.data.nr)
    assert (after.certificate.samples, after.certificate.feature_samples) == (64, 64)
    assert after.certificate.confidence == before.certificate.confidence
    assert overridden(before, Overrides()) == before


@pytest.mark.parametrize(
    "changes",
    [Overrides(limit=0), Overrides(samples=-1), Overrides(sigmas=(-0.1,)), Overrides(models=())],
)
def test_bad_overrides_are_refused(changes: Overrides) -> None:
    with pytest.raises(BenchError, match="command line"):
        overridden(load_profile("embedded"), changes)


@given(st.text(max_size=200))
def test_any_text_is_a_profile_or_a_sentence(text: str) -> None:
    with pytest.raises(BenchError):
        parse_profile(text, source="fuzz")
