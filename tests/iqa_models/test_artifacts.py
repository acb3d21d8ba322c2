"""The published edition from its files: the table, where files are looked for, strict joining."""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from iqa_models import ModelPlugin, load, model_plugin, names
from iqa_models.artifacts import Shelf, artifact, artifacts, needed_by
from iqa_models.assembly import build_published, whole
from iqa_models.base import IQAModel
from iqa_models.dbcnn import published_trunk
from iqa_models.weights import WeightsError, read_notes, save_tensors

State = dict[str, torch.Tensor]


@pytest.fixture(autouse=True)
def nowhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    """No file of this machine is found by accident."""
    if "published" not in request.keywords:
        monkeypatch.delenv("BENCH_WEIGHTS", raising=False)
        monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))


def random_state(prefix: str, module: nn.Module) -> State:
    """A module's own random values under another prefix."""
    return {prefix + key: value for key, value in module.state_dict().items()}


def vgg16() -> State:
    from iqa_models.trunks import vgg16_layers

    return random_state("features.", vgg16_layers())


def write(folder: Path, **states: State) -> Path:
    for name, state in states.items():
        save_tensors(state, folder / f"{name}.safetensors", notes={})
    return folder


def assembled(name: str, shelf: Shelf) -> IQAModel:
    """The published model of this name from the files on a shelf."""
    return build_published(name, model_plugin(name).recipes, shelf)


def dists_weights() -> State:
    return {name: torch.full((1, 1475, 1, 1), 0.1) for name in ("alpha", "beta")}


# -- the table ---------------------------------------------------------------------------------


def test_table_is_whole() -> None:
    table = artifacts()
    assert len(table) >= 18
    for entry in table.values():
        assert entry.urls or entry.note
        assert all(url.startswith(("https://", "http://")) for url in entry.urls)
        assert entry.licence
        digits = Path(entry.file).stem.rsplit("-", 1)[-1]
        if len(digits) == 8 and set(digits) <= set("0123456789abcdef"):
            assert entry.sha256 == digits  # the hash published with the name
    choices = [choice for name in names() for choice in model_plugin(name).recipes]
    assert {need for choice in choices for need in choice.needs} <= set(table)


@pytest.mark.parametrize("name", names())
def test_prefetch_gets_what_the_default_variant_needs(name: str) -> None:
    assert {entry.name for entry in needed_by([name])} == set(model_plugin(name).recipes[0].needs)


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(WeightsError, match="did you mean 'vgg16_features'"):
        artifact("vgg16_feature")


# -- where files lie -----------------------------------------------------------------------------


def test_a_folder_is_searched_by_both_names(tmp_path: Path) -> None:
    write(tmp_path, dists_alpha_beta=dists_weights())
    (tmp_path / "DBCNN_scnn-7ea73d75.pth").write_bytes(b"x")
    shelf = Shelf.open(tmp_path)
    assert shelf.missing(["dists_alpha_beta", "dbcnn_scnn", "lpips_alex_lin"]) == ["lpips_alex_lin"]
    official, converted = shelf.find("dbcnn_scnn"), shelf.find("dists_alpha_beta")
    assert official is not None
    assert converted is not None
    assert (official.sha256, converted.sha256) == ("7ea73d75", None)


def test_sums_beside_the_files_are_checked(tmp_path: Path) -> None:
    write(tmp_path, dists_alpha_beta=dists_weights(), vgg16_features=vgg16())
    sums = tmp_path / "SHA256SUMS"
    sums.write_text(f"{'0' * 64}  dists_alpha_beta.safetensors\n", encoding="utf-8")
    with pytest.raises(WeightsError, match=r"has sha256 .* expected 0000"):
        assembled("dists", Shelf.open(tmp_path))
    right = hashlib.sha256((tmp_path / "dists_alpha_beta.safetensors").read_bytes()).hexdigest()
    sums.write_text(f"{right}  dists_alpha_beta.safetensors\n", encoding="utf-8")
    assert assembled("dists", Shelf.open(tmp_path)).edition == "published"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[weights]\nvgg = 'x'\n", "unknown artifact 'vgg'"),
        ("[weights]\nvgg16_features = 'absent.pth'\n", r"expected the file .*absent\.pth"),
        ("[weights]\nvgg16_features = 3\n", "expected a file name, found 3"),
        ("weights = 1\n", r"expected tables \[weights\]"),
        ("[weights\n", "expected TOML"),
    ],
)
def test_mistakes_in_a_mapping(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "w.toml").write_text(text, encoding="utf-8")
    with pytest.raises(WeightsError, match=words):
        Shelf.open(tmp_path / "w.toml")


def test_missing_weights_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="python -m bench prefetch --models hyperiqa gets them"):
        load("hyperiqa", edition="published")
    with pytest.raises(WeightsError, match="expected a folder or a TOML file"):
        Shelf.open(tmp_path / "absent")


# -- joining -------------------------------------------------------------------------------------


def test_pieces_become_the_published_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    vgg = vgg16()
    write(tmp_path, vgg16_features=vgg, dists_alpha_beta=dists_weights())
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    model = load("dists", edition="published")
    state = model.state_dict()
    assert torch.equal(state["stage5.28.weight"], vgg["features.28.weight"])
    assert model.card.title == "DISTS"


def test_a_head_trained_elsewhere_is_in_the_title(tmp_path: Path) -> None:
    from iqa_models.dbcnn import published

    whole = published()
    scnn = random_state("features.", whole.get_submodule("features2"))
    scnn = {k: v for k, v in scnn.items() if "num_batches" not in k} | {
        "classifier.bias": torch.ones(2)
    }
    write(tmp_path, vgg16_features=vgg16(), dbcnn_scnn=scnn)
    shelf = Shelf.open(tmp_path)
    named = replace(shelf, variants={"dbcnn": "head"})  # for the whole, once there is a head
    for one in (shelf, named):
        assert published_trunk(one).edition == "published"
    with pytest.raises(WeightsError, match="dbcnn_koniq not found"):
        assembled("dbcnn", shelf)
    head = {"fc.weight": torch.ones(1, 65536), "fc.bias": torch.zeros(1)}
    save_tensors(
        head, tmp_path / "dbcnn_head.safetensors", notes={"title": "head trained here on X"}
    )
    model = assembled("dbcnn", Shelf.open(tmp_path))
    assert model.card.title == "DBCNN (head trained here on X)"
    assert torch.equal(model.state_dict()["fc.weight"], head["fc.weight"])
    assert read_notes(tmp_path / "dbcnn_head.safetensors")["title"] == "head trained here on X"


def test_a_hyper_network_trained_elsewhere_on_the_first_resnet(tmp_path: Path) -> None:
    """Strides where He et al. have them, half precision made single, the file's own title."""
    import timm

    from iqa_models.hyperiqa import TRUNK_PREFIX, CentreCrop, published
    from iqa_models.hyperiqa import published_trunk as hyperiqa_trunk

    resnet = timm.create_model("resnet50", pretrained=False, features_only=True).state_dict()
    stored = {k: v.half() if v.ndim == 4 else v for k, v in resnet.items() if "num_b" not in k}
    write(tmp_path, resnet50_imagenet=stored)
    trunk = hyperiqa_trunk(Shelf.open(tmp_path))
    assert trunk.crops == CentreCrop(224)
    whole = published(crops=CentreCrop()).state_dict()
    head = {k: torch.ones_like(v) for k, v in whole.items() if not k.startswith(TRUNK_PREFIX)}
    save_tensors(head, tmp_path / "hyperiqa_head.safetensors", notes={"title": "trained on X"})
    model = assembled("hyperiqa", Shelf.open(tmp_path))
    assert model.card.title == "HyperIQA (trained on X)"
    state = model.state_dict()
    assert torch.equal(state["conv1.0.weight"], head["conv1.0.weight"])
    kernel = state["base_model.layer2.0.conv1.weight"]
    assert kernel.dtype == torch.float32
    assert torch.equal(kernel.half(), stored["layer2.0.conv1.weight"])
    strides = {
        name: module.stride[0]
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d) and module.stride != (1, 1)
    }
    assert strides == {
        "base_model.conv1": 2,
        **{f"base_model.layer{stage}.0.conv1": 2 for stage in (2, 3, 4)},
        **{f"base_model.layer{stage}.0.downsample.0": 2 for stage in (2, 3, 4)},
    }


def test_the_centre_crop_is_the_middle() -> None:
    from iqa_models.hyperiqa import CentreCrop

    pixels = torch.arange(8 * 11).view(1, 1, 8, 11).expand(1, 3, 8, 11)
    assert torch.equal(CentreCrop(4)(pixels), pixels[..., 2:6, 3:7])
    small = torch.arange(3.0).expand(1, 3, 2, 3)  # enlarged to 4x6 first
    assert CentreCrop(4)(small)[0, 0, 0].tolist() == [0.25, 0.75, 1.25, 1.75]


def test_a_variant_can_be_chosen(tmp_path: Path) -> None:
    linear = {
        f"lin{k}.model.1.weight": torch.ones(1, c, 1, 1)
        for k, c in enumerate((64, 128, 256, 512, 512))
    }
    write(tmp_path, vgg16_features=vgg16(), lpips_vgg_lin=linear)
    mapping = '[weights]\nvgg16_features = "vgg16_features.safetensors"\n'
    mapping += 'lpips_vgg_lin = "lpips_vgg_lin.safetensors"\n[variants]\nlpips = "{}"\n'
    (tmp_path / "w.toml").write_text(mapping.format("vgg"), encoding="utf-8")
    assert assembled("lpips", Shelf.open(tmp_path / "w.toml")).card.title == "LPIPS (VGG16)"
    (tmp_path / "w.toml").write_text(mapping.format("squeeze"), encoding="utf-8")
    with pytest.raises(WeightsError, match="of lpips 'squeeze': there are alex, vgg"):
        assembled("lpips", Shelf.open(tmp_path / "w.toml"))


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    wrong = dists_weights() | {"alpha": torch.ones(1, 7, 1, 1)}
    write(tmp_path, vgg16_features=vgg16(), dists_alpha_beta=wrong)
    with pytest.raises(WeightsError, match=r"does not fit DISTS: wrong shape alpha"):
        assembled("dists", Shelf.open(tmp_path))


class Brightness(IQAModel):
    """Somebody else's model: one weight per colour."""

    edition = "published"

    def __init__(self) -> None:
        super().__init__()
        self.card = dataclasses.replace(model_plugin("dbcnn").card, name="brightness", title="B")
        self.colours = nn.Linear(3, 1, bias=False).requires_grad_(False)

    def extract(self, images: torch.Tensor, reference: object) -> torch.Tensor:
        return images.mean((2, 3))

    def head(self, features: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = self.colours(features)
        return scores.squeeze(1)


def test_a_third_partys_model_has_a_published_edition(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = 'name = "{0}"\nfile = "{0}.pth"\nurls = []\nlicence = "MIT"\nneeded_by = ["brightness"]\n'
    table = "".join("[[artifact]]\n" + row.format(name) for name in ("colours", "greys"))
    (tmp_path / "own.toml").write_text(table, encoding="utf-8")
    monkeypatch.setenv("BENCH_ARTIFACTS", str(tmp_path / "own.toml"))
    monkeypatch.setenv("BENCH_WEIGHTS", str(tmp_path))
    recipes = (
        whole("colours", "colours", Brightness),
        dataclasses.replace(whole("greys", "greys", Brightness), note="grey only"),
    )
    theirs = ModelPlugin(Brightness().card, Brightness, Brightness, recipes)
    assert {entry.name for entry in needed_by(["brightness"])} == {"colours", "greys"}
    with pytest.raises(WeightsError, match=r"brightness, published edition: colours not found"):
        theirs.build("published")
    save_tensors({"colours.weight": torch.ones(1, 3)}, tmp_path / "greys.safetensors", notes={})
    assert theirs.build("published").card.title == "B (grey only)"
    weights = {"colours.weight": torch.tensor([[0.5, 0.25, 0.125]])}
    save_tensors(weights, tmp_path / "colours.safetensors", notes={})
    model = theirs.build("published")
    assert model.card.title == "B"
    assert float(model.bind()(torch.ones(1, 3, 64, 64))) == 0.875
    with pytest.raises(WeightsError, match="brightness: no recipe"):
        dataclasses.replace(theirs, recipes=()).build("published")


# -- with the authors' weights ---------------------------------------------------------------------

OFFICIAL = {
    "lpips": (0.7237, 0.2572, 0.05079, 0.05205, 0.4253),
    "dists": (0.4742, 0.1424, 0.06825, 0.02867, 0.3123),
}
"""On five TID2013 pairs that pyiqa ships for calibration."""


def calibration_pair(name: str) -> list[torch.Tensor]:
    from importlib.util import find_spec

    spec = find_spec("ResultsCalibra")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("pyiqa's calibration images are not installed")
    root = Path(next(iter(spec.submodule_search_locations)))
    pixels = (np.asarray(Image.open(root / d / f"{name}.bmp")) for d in ("dist_dir", "ref_dir"))
    return [torch.from_numpy(p.transpose(2, 0, 1) / np.float32(255))[None] for p in pixels]


@pytest.mark.published
@pytest.mark.parametrize("name", sorted(OFFICIAL))
def test_official_scores(name: str) -> None:
    shelf = Shelf.open()
    if all(shelf.missing(choice.needs) for choice in model_plugin(name).recipes):
        pytest.skip(f"{name}: the authors' weights are neither in BENCH_WEIGHTS nor in the cache")
    model = assembled(name, shelf)
    for image, official in zip(("I03", "I04", "I06", "I08", "I19"), OFFICIAL[name], strict=True):
        distorted, reference = calibration_pair(image)
        with torch.no_grad():
            assert float(model.bind(reference)(distorted)) == pytest.approx(official, abs=1e-4)
