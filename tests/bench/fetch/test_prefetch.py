"""Downloads from a server on the loopback: whole, cut, a web page, wrong content, a mirror."""

from __future__ import annotations

import hashlib
import io
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from bench.base.errors import BenchError
from bench.fetch.download import DownloadError, Wanted, download, reached, unpack
from bench.fetch.prefetch import chosen_artifacts, prefetch
from iqa_models.artifacts import Artifact, Shelf, artifacts

CONTENT = b"PK\x03\x04" + bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
PAGE = b"<!DOCTYPE html><html><body>Please sign in</body></html>"


@dataclass
class Site:
    """What the server has seen and how it behaves."""

    address: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    cut_after: dict[str, int] = field(default_factory=dict)
    """Bytes after which the next answer for a path is cut, once."""
    tag: str = '"one"'
    ranges: list[str | None] = field(default_factory=list)

    def url(self, name: str) -> str:
        return f"{self.address}/{name}"


@pytest.fixture
def site() -> Iterator[Site]:
    state = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path[1:]
            asked = self.headers.get("Range")
            state.ranges.append(asked)
            body = state.files.get(name)
            if body is None:
                self.send_error(404)
                return
            same = self.headers.get("If-Range") == state.tag
            start = int(asked[6:-1]) if asked and same else 0
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body) - start))
            self.send_header("ETag", state.tag)
            self.end_headers()
            self.wfile.write(body[start : state.cut_after.pop(name, None)])

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_whole_file(site: Site, tmp_path: Path) -> None:
    site.files["a.pth"] = CONTENT
    seen: list[tuple[int, int | None]] = []
    wanted = Wanted("a.pth", (site.url("a.pth"),), SHA256[:8])
    path = download(wanted, tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert path.read_bytes() == CONTENT
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [p.name for p in tmp_path.iterdir()] == ["a.pth"]


def test_a_cut_download_goes_on_where_it_ended(site: Site, tmp_path: Path) -> None:
    site.files["a.pth"], site.cut_after["a.pth"] = CONTENT, 300_000
    wanted = Wanted("a.pth", (site.url("a.pth"),), SHA256)
    assert download(wanted, tmp_path).read_bytes() == CONTENT
    assert site.ranges == [None, "bytes=300000-"]


def test_a_part_of_an_earlier_call_is_used(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.pth.part").write_bytes(CONTENT[:1000])
    (tmp_path / "a.pth.part.mark").write_text(f'{site.url("a.pth")}\n"one"', encoding="utf-8")
    site.files["a.pth"] = CONTENT
    wanted = Wanted("a.pth", (site.url("a.pth"),), SHA256)
    assert download(wanted, tmp_path).read_bytes() == CONTENT
    assert site.ranges == ["bytes=1000-"]


def test_parts_of_two_versions_are_never_joined(site: Site, tmp_path: Path) -> None:
    (tmp_path / "a.pth.part").write_bytes(b"old" * 1000)
    (tmp_path / "a.pth.part.mark").write_text(f'{site.url("a.pth")}\n"zero"', encoding="utf-8")
    site.files["a.pth"] = CONTENT
    assert download(Wanted("a.pth", (site.url("a.pth"),)), tmp_path).read_bytes() == CONTENT


def test_a_web_page_is_named_and_thrown_away(site: Site, tmp_path: Path) -> None:
    site.files["a.pth"] = PAGE
    with pytest.raises(DownloadError) as caught:
        download(Wanted("a.pth", (site.url("a.pth"),), SHA256[:8]), tmp_path)
    text = str(caught.value)
    assert text.startswith(f"{site.url('a.pth')}: expected a PyTorch checkpoint")
    assert f"sha256 {SHA256[:8]}" in text
    assert "found a web page that begins with b'<!DOCTYPE html>" in text
    assert not list(tmp_path.iterdir())


def test_wrong_content_is_thrown_away(site: Site, tmp_path: Path) -> None:
    site.files["a.pth"] = CONTENT + b"x"
    with pytest.raises(DownloadError, match=f"expected a.pth with sha256 {SHA256[:8]}..., found"):
        download(Wanted("a.pth", (site.url("a.pth"),), SHA256[:8]), tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_mirror_is_tried(site: Site, tmp_path: Path) -> None:
    site.files["mirror/a.pth"] = CONTENT
    urls = (site.url("a.pth"), site.url("mirror/a.pth"))
    assert download(Wanted("a.pth", urls, SHA256), tmp_path).read_bytes() == CONTENT


def test_no_address_has_it(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"/a\.pth: expected a\.pth, found HTTP 404\."):
        download(Wanted("a.pth", (site.url("a.pth"),)), tmp_path)
    with pytest.raises(DownloadError, match="expected an http or https address"):
        download(Wanted("passwd", ("file:///etc/passwd",)), tmp_path)


# -- archives ------------------------------------------------------------------------------------


def archive(path: Path, members: dict[str, str]) -> Path:
    with zipfile.ZipFile(path, "w") as opened:
        for name, text in members.items():
            opened.writestr(name, text)
    return path


def test_archives_are_unpacked(site: Site, tmp_path: Path) -> None:
    made = archive(tmp_path / "made.zip", {"ensemble_lora/adapter_config.json": "{}", "b": "2"})
    site.files["d.zip"] = made.read_bytes()
    entry = Artifact("dreamsim_x", "d.zip", (site.url("d.zip"),), "MIT", (), archive=True)
    shelf = Shelf(tmp_path / "cache")
    (outcome,) = prefetch([entry], Known(shelf.cache))
    assert outcome.status == "fetched", outcome.reason
    folder = tmp_path / "cache" / "dreamsim_x"
    assert (folder / "ensemble_lora" / "adapter_config.json").read_text(encoding="utf-8") == "{}"
    assert sorted(p.name for p in folder.parent.iterdir()) == ["SHA256SUMS", "dreamsim_x"]


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "C:\\evil"])
def test_members_cannot_leave_the_folder(tmp_path: Path, name: str) -> None:
    made = archive(tmp_path / "x.zip", {"good": "1", name: "2"})
    with pytest.raises(DownloadError, match="expected files below its own folder, found"):
        unpack(made, tmp_path / "inner" / "out")
    assert not (tmp_path / "inner").exists()
    (tmp_path / "x.zip").write_bytes(b"PK\x03\x04 broken")
    with pytest.raises(DownloadError, match="expected a whole zip archive"):
        unpack(made, tmp_path / "out")


def tar(path: Path, members: dict[str, str], *, link: str | None = None) -> Path:
    with tarfile.open(path, "w:gz") as opened:
        for name, text in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(text)
            opened.addfile(info, io.BytesIO(text.encode()))
        if link is not None:
            info = tarfile.TarInfo("link")
            info.type, info.linkname = tarfile.SYMTYPE, link
            opened.addfile(info)
    return path


@pytest.mark.parametrize("name", ["d.tgz", "d.tar.gz"])
def test_tars_are_unpacked(site: Site, tmp_path: Path, name: str) -> None:
    made = tar(tmp_path / "made.tgz", {"koniq10k/512x384/1.jpg": "1", "b": "2"})
    site.files[name] = made.read_bytes()
    entry = Artifact("koniq", name, (site.url(name),), "MIT", (), archive=True)
    (outcome,) = prefetch([entry], Known(tmp_path / "cache"))
    assert outcome.status == "fetched", outcome.reason
    assert (tmp_path / "cache/koniq/koniq10k/512x384/1.jpg").read_text(encoding="utf-8") == "1"
    assert not (tmp_path / "cache" / name).exists()


def test_a_tar_that_leaves_its_folder_links_or_is_cut_is_refused(tmp_path: Path) -> None:
    for made in (
        tar(tmp_path / "x.tgz", {"good": "1", "../evil": "2"}),
        tar(tmp_path / "y.tgz", {"good": "1"}, link="/etc/passwd"),
    ):
        with pytest.raises(DownloadError, match="expected files below its own folder, found"):
            unpack(made, tmp_path / "inner" / "out")
    (tmp_path / "z.tgz").write_bytes(made.read_bytes()[:40])
    with pytest.raises(DownloadError, match="expected a whole tar archive"):
        unpack(tmp_path / "z.tgz", tmp_path / "out")
    assert not (tmp_path / "inner").exists() and not (tmp_path / "out").exists()


# -- what nobody publishes a hash of, what is gone, and mirrors ------------------------------------


def test_the_hash_of_the_first_download_counts_from_then_on(site: Site, tmp_path: Path) -> None:
    site.files["a.pth"] = CONTENT
    entry, shelf = Artifact("a", "a.pth", (site.url("a.pth"),), "MIT", ()), Known(tmp_path)
    assert prefetch([entry], shelf)[0].status == "fetched"
    assert (tmp_path / "SHA256SUMS").read_text(encoding="utf-8") == f"{SHA256}  a.pth\n"
    assert shelf.hash_of(entry) == SHA256
    (tmp_path / "a.pth").unlink()
    site.files["a.pth"] = CONTENT + b"changed"
    (again,) = prefetch([entry], shelf)
    assert again.status == "failed" and f"sha256 {SHA256}" in again.reason
    assert not (tmp_path / "a.pth").exists()


def test_a_recorded_hash_is_checked_when_the_weights_are_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("BENCH_WEIGHTS", raising=False)
    folder = tmp_path / "artifacts"
    folder.mkdir()
    (folder / "KonCept512.pth").write_bytes(CONTENT)
    (folder / "SHA256SUMS").write_text(f"{SHA256}  KonCept512.pth\n", encoding="utf-8")
    found = Shelf.open().find("koncept512")
    assert found is not None and found.sha256 == SHA256


def test_a_fallback_takes_the_place_of_what_is_gone(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Artifact("b", "b.h5", (site.url("b.h5"),), "MIT", ())
    monkeypatch.setattr("bench.fetch.prefetch.artifact", {"b": other}.__getitem__)
    entry = Artifact("a", "a.pth", (site.url("a.pth"),), "MIT", (), fallback="b")
    gone = prefetch([entry], Known(tmp_path))
    assert [outcome.status for outcome in gone] == ["failed", "failed"]
    site.files["b.h5"] = b"\x89HDF"
    replaced, fetched = prefetch([entry], Known(tmp_path))
    assert replaced.good and "HTTP 404" in replaced.reason
    assert replaced.reason.endswith("b.h5 takes its place.")
    assert fetched.artifact.name == "b" and fetched.good
    site.files["a.pth"] = CONTENT
    assert [outcome.status for outcome in prefetch([entry], Known(tmp_path))] == ["fetched"]


def test_every_fallback_is_an_artifact() -> None:
    for entry in artifacts().values():
        assert entry.fallback is None or entry.fallback in artifacts()
    assert artifacts()["koncept512"].fallback == "koncept512_keras"


def test_the_hub_may_be_a_mirror(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", f"{site.address}/")
    site.files["chaofengc/x/resolve/main/a.pth"] = CONTENT
    url = "https://huggingface.co/chaofengc/x/resolve/main/a.pth"
    assert download(Wanted("a.pth", (url,), SHA256), tmp_path).read_bytes() == CONTENT
    elsewhere = "https://huggingface.co.example.org/a"
    assert reached(elsewhere) == elsewhere


# -- choosing ------------------------------------------------------------------------------------


class Known(Shelf):
    """A shelf that knows artifacts which are not in the table."""

    def find(self, name: str) -> None:
        return None


def test_one_failure_does_not_stop_the_others(site: Site, tmp_path: Path) -> None:
    site.files["b.pth"] = CONTENT
    entries = [
        Artifact(name, f"{name}.pth", (site.url(f"{name}.pth"),), "MIT", ()) for name in "abc"
    ]
    found = prefetch(entries, Known(tmp_path))
    assert [outcome.status for outcome in found] == ["failed", "fetched", "failed"]
    assert "HTTP 404" in found[0].reason


def test_offline_and_given_weights_never_touch_the_network(site: Site, tmp_path: Path) -> None:
    entry = Artifact("a", "a.pth", (site.url("a.pth"),), "MIT", ())
    (offline,) = prefetch([entry], Known(tmp_path), offline=True)
    (given,) = prefetch([entry], Known(tmp_path, given=tmp_path))
    assert offline.status == given.status == "missing"
    assert "expected a.pth in" in offline.reason
    assert site.ranges == []


def test_names_of_models_data_sets_and_artifacts() -> None:
    chosen = {entry.name for entry in chosen_artifacts(["lpips", "lpips_vgg_lin"], ["kadid10k"])}
    assert chosen == {"alexnet_features", "lpips_alex_lin", "lpips_vgg_lin", "kadid10k"}
    with pytest.raises(BenchError, match="did you mean 'dists'"):
        chosen_artifacts(["dist"], [])
    assert len(artifacts()) > len(chosen)


def test_the_verb_says_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from bench.cli.app import main

    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("BENCH_WEIGHTS", raising=False)
    assert main(["prefetch", "--models", "dists", "--offline"]) == 1
    said = capsys.readouterr().err
    assert "missing  vgg16_features" in said
    assert "0/2 artifacts present" in said


def test_a_run_without_weights_ends_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.cli.run import absent_models
    from bench.plan.profile import Profile
    from bench.plan.units import Plan
    from bench.plugins.registry import Found, Registry

    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    monkeypatch.delenv("BENCH_WEIGHTS", raising=False)
    parts = {("model", "someones-plugin"): Found("model", "someones-plugin", "a file", object())}
    registry = Registry({**Registry.open(kinds=["model"]).parts, **parts})
    for edition, models in (("compact", ("lpips",)), ("published", ("someones-plugin",))):
        profile = Profile(name="p", edition=edition, models=models)  # type: ignore[arg-type]
        absent_models(Plan(profile, (), (), {}, "", "cpu", {}), registry, strict=True)
    both = Profile(name="p", edition="published", models=("someones-plugin", "dists"))
    plan = Plan(both, (), (), {}, "", "cpu", {})
    ((model, sentence),) = absent_models(plan, registry, strict=False)
    assert model == "dists" and "python -m bench prefetch --models dists" in sentence
    with pytest.raises(BenchError, match="vgg16_features, dists_alpha_beta not found"):
        absent_models(plan, registry, strict=True)
    profile = Profile(name="p", edition="published", models=("dists",))
    with pytest.raises(BenchError, match="vgg16_features, dists_alpha_beta not found in the cache"):
        absent_models(Plan(profile, (), (), {}, "", "cpu", {}), registry, strict=True)
