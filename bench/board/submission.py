"""One run as a folder that may be sent to others, and the same folder read back with suspicion.

    submission.json   who, where, licence, and the digest of every other file
    LICENCE           what the records may be used for
    plan.json         the plan, as it was hashed
    run.json          digests of code, data and weights, versions, guarantee cards; no machine
    *.parquet         records, without pictures
    units/*.parquet   status of every unit

This module knows files and digests; it must not know what any record means.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bench.base.errors import BenchError, invalid
from bench.base.files import file_sha256, write_json, write_text
from bench.base.provenance import now, version
from bench.plan.units import STAGES
from bench.records.folder import RunFolder
from bench.records.schema import BY_TABLE

VERSION = 1
FACE = "submission.json"
LICENCE = "LICENCE"
_KEPT = ("plan_sha256", "code_sha256", "data_sha256", "weights_sha256", "edition", "device_type")
_NOT_SENT = ("pictures",)
"""Attacked images: whose they are is not ours to say."""
_TABLES = frozenset(f"{name}.parquet" for name in BY_TABLE if name not in _NOT_SENT)
_ALLOWED = {LICENCE, "plan.json", "run.json"} | _TABLES | {f"units/{s}.parquet" for s in STAGES}
_LARGEST = 512 * 2**20
"""Bytes of a whole submission."""


class Submission(BaseModel):
    """What a submission says of itself."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    v: Annotated[int, Field(ge=VERSION, le=VERSION)] = VERSION
    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 .+_-]{0,59}$")]
    url: Annotated[str, Field(pattern=r"^https?://[^\s<>\"'`]{1,300}$")]
    licence: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 .+_-]{0,59}$")] = "CC0-1.0"
    made: str
    made_with: str | None = None
    files: Mapping[str, Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]]

    @property
    def slug(self) -> str:
        """The name as a file's.

        >>> Submission(name="My Run 2", url="http://x", made="", files={}).slug
        'my-run-2'
        """
        return re.sub(r"[^a-z0-9]+", "-", self.name.lower()).strip("-")


def write_submission(
    run: RunFolder, out: Path, *, name: str, url: str, licence: str = "CC0-1.0"
) -> Path:
    """Copy of a finished run that may be sent to others; returns its folder below ``out``.

    Args:
        run: All of its begun stages are complete.
        out: Folder of submissions.
        name: Whose or what it is, as shown.
        url: Where more can be read, ``http`` or ``https``.
        licence: What the records may be used for.

    Raises:
        BenchError: The run is not finished, a word is not allowed, or the folder is taken.
    """
    face = _face(name=name, url=url, licence=licence, files={})
    plan = run.plan()
    open_stages = [s for s in run.asked() if plan.of_stage(s) and not _sealed(run, s)]
    if open_stages:
        raise BenchError(
            f"{run.path}: expected a finished run, found {', '.join(open_stages)} without an end; "
            "run it again, it goes on where it was."
        )
    folder = out / face.slug
    if folder.exists():
        raise BenchError(
            f"{folder}: expected no such folder yet, found one; remove it, or take another --name."
        )
    write_json(folder / "run.json", _told(run))
    for relative in sorted(_ALLOWED - {LICENCE, "run.json"}):
        if (run.path / relative).is_file():
            (folder / relative).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(run.path / relative, folder / relative)
    write_text(folder / LICENCE, f"{_licence(face)}\n")
    files = {str(f.relative_to(folder).as_posix()): file_sha256(f) for f in _files(folder)}
    whole = face.model_copy(update={"files": files})
    write_text(folder / FACE, whole.model_dump_json(indent=1) + "\n")
    return folder


def face_of(folder: Path) -> Submission:
    """What a folder says of itself.

    Raises:
        BenchError: It says nothing, or something else.
    """
    try:
        if not (folder / FACE).is_file():  # opening a pipe would wait for whoever writes to it
            raise FileNotFoundError
        return Submission.model_validate_json((folder / FACE).read_bytes())
    except OSError as error:
        raise BenchError(
            f"{folder / FACE}: expected a submission, found none; python -m bench submit RUN "
            "makes one of a run."
        ) from error
    except ValidationError as error:
        raise BenchError(f"{folder / FACE}: {invalid(error, whole='the file')}") from error


def check_files(folder: Path, face: Submission) -> None:
    """The folder holds exactly the files that its face names, as they were.

    Raises:
        BenchError: Naming the first file that is not what it should be.
    """
    size = 0
    for file in folder.rglob("*"):
        relative = file.relative_to(folder).as_posix()
        if file.is_symlink() or not (file.is_file() or relative == "units"):
            raise BenchError(f"{file}: expected a plain file, found something else.")
        if relative not in (FACE, "units") and relative not in face.files:
            raise BenchError(f"{file}: expected no such file, {FACE} does not name it.")
        size += file.stat().st_size
    if size > _LARGEST:
        raise BenchError(f"{folder}: expected at most {_LARGEST >> 20} MiB, found {size >> 20}.")
    for relative, sha256 in face.files.items():
        if relative not in _ALLOWED:
            raise BenchError(f"{folder / FACE}: {relative!r} is no file of a submission.")
        if (found := file_sha256(folder / relative)) != sha256:
            raise BenchError(
                f"{folder / relative}: expected the content that {FACE} names ({sha256[:8]}), "
                f"found another ({found[:8]})."
            )


def _face(*, name: str, url: str, licence: str, files: Mapping[str, str]) -> Submission:
    try:
        return Submission(
            name=name,
            url=url,
            licence=licence,
            made=now()[:10],
            made_with=version("certified-iqa-bench"),
            files=files,
        )
    except ValidationError as error:
        raise BenchError(f"--{invalid(error, whole='the submission')}") from error


def _sealed(run: RunFolder, stage: str) -> bool:
    return run.in_tables(stage) and run.sealed(stage) is not None


def _told(run: RunFolder) -> dict[str, object]:
    """What of a run's provenance is about the numbers and not about a machine."""
    known = run.provenance()
    told = {name: known[name] for name in _KEPT if name in known}
    machine = known.get("machine", {})
    versions = {name: machine[name] for name in ("python", "packages") if name in machine}
    return {**told, "machine": versions, "cards": known.get("cards", [])}


def _licence(face: Submission) -> str:
    return (
        f"The records in this folder were submitted as {face.name!r} ({face.url}) and may be used "
        f"under {face.licence}.\nThey are numbers: no image and no weight is part of them. Data "
        "sets and models that they were measured on keep their own terms.\n"
    )


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())
