"""Files appear whole, with ordinary permissions, or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from bench.base.errors import BenchError
from bench.base.files import file_sha256, write_atomically, write_text


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o002, 0o664), (0o077, 0o600)])
def test_permissions_are_those_of_any_new_file(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        path = tmp_path / "new" / "a.txt"
        write_atomically(path, lambda part: part.write_text("whole"))
        assert os.umask(mask) == mask
    finally:
        os.umask(before)
    assert path.read_text() == "whole"
    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail(part: Path) -> None:
        part.write_text("ha")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


def test_content_is_durable_before_its_name_and_the_name_when_all_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A crash may find the old file or the new one, never a new name without its content."""
    seen: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted(handle: int) -> None:
        seen.append("folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file")
        fsync(handle)

    def renamed(part: Path, target: Path) -> Path:
        seen.append("name")
        return replace(part, target)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(Path, "replace", renamed)
    write_atomically(tmp_path / "a.txt", lambda part: part.write_text("whole"))
    assert seen == ["file", "name", "folder"]


def test_digest(tmp_path: Path) -> None:
    (tmp_path / "abc").write_text("abc")
    assert file_sha256(tmp_path / "abc").startswith("ba7816bf")
    with pytest.raises(BenchError, match="expected a readable file, found No such file"):
        file_sha256(tmp_path / "none")


def test_a_folder_that_cannot_be_made_is_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a file system that takes nothing, whoever asks."""

    def refused(self: Path, *_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "mkdir", refused)
    with pytest.raises(BenchError, match=r"no: expected a folder that can be written, found: Perm"):
        write_text(tmp_path / "no" / "file", "x")
