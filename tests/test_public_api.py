"""What others may import: these names stay until a release says otherwise."""

from __future__ import annotations

import importlib

import pytest

PUBLIC: dict[str, tuple[str, ...]] = {
    "bench": (
        "BenchError",
        "DefendedModel",
        "DefendedScore",
        "Rated",
        "Run",
        "as_model",
        "certify",
        "defend",
        "fit_features",
        "run",
    ),
    "defenses": (
        "Defense",
        "FeatureSmoother",
        "GuaranteeCard",
        "InputSmoother",
        "DenoisedSmoother",
        "Mean",
        "Median",
        "TrimmedMean",
    ),
    "iqa_models": ("ModelPlugin", "load", "model_plugin", "names"),
    "iqa_models.base": ("BoundModel", "IQAModel", "ModelCard", "ModelInputError", "check_images"),
    "iqa_models.assembly": ("PublishedRecipe", "whole", "read_state", "renamed"),
    "iqa_models.plugin": ("ModelPlugin", "UnknownModelError", "load", "model_plugin", "names"),
    "iqa_models.weights": ("WeightsError", "load_into", "load_state", "save_state"),
    "defenses.base": (
        "Array",
        "Defense",
        "Geometry",
        "GeometrySettings",
        "GuaranteeCard",
        "NativeSettings",
        "Part",
        "ScoreScale",
        "Smoother",
        "Statistic",
        "Target",
        "TrainedPart",
        "TrainingJob",
    ),
    "defenses.bounds": ("Bounds", "median_bounds", "trimmed_mean_bounds", "mean_bounds"),
    "defenses.ranks": ("lower_rank", "median_ranks", "shift", "deployed_median_ranks"),
    "defenses.smoothers": ("DenoisedSmoother", "FeatureSmoother", "InputSmoother"),
    "defenses.statistics": ("Mean", "Median", "TrimmedMean"),
    "defenses.denoisers": ("DenoiserPart", "ScoreAwareDenoiserPart"),
    "defenses.feature_scorer": ("FeatureScorerPart",),
    "defenses.noise": ("NoiseStream", "key_seed"),
    "defenses.certify": ("Certificate", "CertificateError", "certify", "width_curve"),
    "defenses.conformance": ("CHECKS", "DefenseConformance", "check"),
    "bench.base.errors": ("BenchError",),
    "bench.cli.app": ("app", "main"),
    "bench.datasets": ("Dataset", "Item", "Pair", "select"),
    "bench.plugins.registry": ("GROUPS", "Registry"),
    "bench.plan.profile": ("Profile",),
    "bench.records.folder": ("RunFolder",),
    "bench.execution.options": ("Execution",),
    "bench.execution.runner": ("execute",),
    "bench.execution.backends": ("Cluster",),
}
"""Module and names; docs/architecture.md says what they are for."""


@pytest.mark.parametrize("module", PUBLIC)
def test_public_names_are_there_and_documented(module: str) -> None:
    found = importlib.import_module(module)
    assert found.__doc__
    for name in PUBLIC[module]:
        value = getattr(found, name)
        if isinstance(value, type) or callable(value):
            assert value.__doc__, f"{module}.{name} has no docstring"


@pytest.mark.parametrize("package", ["bench", "defenses", "iqa_models"])
def test_a_package_lists_all_of_its_public_names_and_no_other(package: str) -> None:
    found = importlib.import_module(package)
    assert set(PUBLIC[package]) <= set(found.__all__)
    assert list(found.__all__) == sorted(found.__all__)
    assert all(getattr(found, name) is not None for name in found.__all__)
    with pytest.raises(AttributeError):
        getattr(found, "no_such_name")  # noqa: B009


def test_what_a_plugin_needs_is_public() -> None:
    """The names that the template and the page on adding a defence import."""
    import ast
    from importlib import resources

    template = resources.files("bench").joinpath("templates", "defense.py.txt").read_text()
    for node in ast.walk(ast.parse(template)):
        if isinstance(node, ast.ImportFrom) and node.module != "__future__":
            assert {alias.name for alias in node.names} <= set(PUBLIC[str(node.module)])
