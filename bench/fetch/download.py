"""One file over HTTP: resumed where it was cut, checked before it counts, or one clear sentence.

A file appears under its name only when it is complete and its checksum is right. What has arrived
so far waits in `<name>.part`, with the server's validator beside it, so that parts of two different
files are never joined. A web page in place of a checkpoint (a login, a quota, a moved link: the
most frequent complaint about published weights) is recognised by its first bytes and thrown away.
"""

from __future__ import annotations

import http.client
import os
import shutil
import stat
import tarfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from bench.base.errors import BenchError
from bench.base.files import file_sha256

Meter = Callable[[int, int | None], None]
"""Called with (bytes so far, bytes in all if the server says)."""

CHUNK = 1 << 20
ROOM = 1 << 30
"""Bytes that any archive may unpack to."""
GROWTH = 20
"""Beyond that, how often its own size an archive may unpack to: pictures hardly compress again."""
ATTEMPTS = 3
"""Tries per address; a cut connection goes on where it ended."""

KINDS: dict[str, tuple[str, tuple[bytes, ...]]] = {
    ".pth": ("a PyTorch checkpoint", (b"PK\x03\x04", b"\x80")),
    ".zip": ("a zip archive", (b"PK\x03\x04", b"PK\x05\x06")),
    ".h5": ("an HDF5 file", (b"\x89HDF",)),
    ".tgz": ("a gzipped tar", (b"\x1f\x8b",)),
    ".gz": ("a gzipped file", (b"\x1f\x8b",)),
}
"""What files are by their ending, and how they begin; checkpoints are zips or plain pickles."""
ENCRYPTED = 0x1
"""The bit of a zip member's flags that says so."""

HUB = "https://huggingface.co"


class DownloadError(BenchError):
    """A file could not be had from an address; the sentence names it."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A file to fetch.

    Attributes:
        file: its name.
        urls: addresses in the order in which they are tried.
        sha256: its hash or the beginning of it, where known.
    """

    file: str
    urls: tuple[str, ...]
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Partial:
    """An unfinished file and the server's mark of the version that it belongs to."""

    path: Path

    @property
    def mark(self) -> Path:
        """Where address and validator are kept."""
        return self.path.with_name(self.path.name + ".mark")

    def resumable(self, url: str) -> tuple[int, str] | None:
        """Bytes so far and the validator, if they are of this address."""
        try:
            known, validator = self.mark.read_text(encoding="utf-8").split("\n", 1)
            size = self.path.stat().st_size
        except (OSError, ValueError):
            return None
        return (size, validator) if known == url and validator and size else None

    def discard(self) -> None:
        """Forget all of it."""
        self.path.unlink(missing_ok=True)
        self.mark.unlink(missing_ok=True)


def download(
    wanted: Wanted, folder: Path, *, progress: Meter | None = None, timeout: float = 30.0
) -> Path:
    """Fetch a file into a folder, from the first address that has it.

    Args:
        wanted: name, addresses and hash.
        folder: created if missing.
        progress: told how far it is.
        timeout: seconds without a byte after which a connection counts as cut.

    Raises:
        DownloadError: no address had it; one sentence for each.
    """
    folder.mkdir(parents=True, exist_ok=True)
    part = Partial(folder / f"{wanted.file}.part")
    problems = []
    for url in map(reached, wanted.urls):
        try:
            _Source(url, wanted, part, progress, timeout).fetch()
        except DownloadError as error:
            problems.append(str(error))
            continue
        part.path.replace(folder / wanted.file)
        part.discard()
        return folder / wanted.file
    raise DownloadError(" ".join(problems) or f"{wanted.file}: expected an address, found none.")


def reached(url: str) -> str:
    """The address, on the mirror that ``HF_ENDPOINT`` names if it is the Hugging Face hub's.

    >>> reached("https://example.org/a")
    'https://example.org/a'
    """
    mirror = os.environ.get("HF_ENDPOINT", "").rstrip("/")
    return mirror + url.removeprefix(HUB) if mirror and url.startswith(f"{HUB}/") else url


@dataclass(frozen=True, slots=True)
class _Source:
    """One address of a wanted file, and what has arrived from it."""

    url: str
    wanted: Wanted
    part: Partial
    progress: Meter | None
    timeout: float

    def fetch(self) -> None:
        """Bring the part file to its full, checked content."""
        trouble = ""
        for _ in range(ATTEMPTS):
            try:
                if self._receive():
                    return self._check_sum()
                trouble = "the connection was cut before the end"
            except urllib.error.HTTPError as error:
                error.close()
                if error.code == 416:  # the part is longer than the file: start again
                    self.part.discard()
                    trouble = "HTTP 416"
                    continue
                raise self._unlike(self.wanted.file, f"HTTP {error.code}") from error
            except (OSError, http.client.HTTPException) as error:
                reason = getattr(error, "reason", None) or error
                trouble = str(reason) or type(error).__name__
        raise self._unlike(
            self.wanted.file,
            f"{trouble} after {ATTEMPTS} tries; what has arrived is kept and the next call goes on "
            "from there",
        )

    def _receive(self) -> bool:
        """Append what the server sends; True when the file is complete."""
        request = _request(self.url)
        kept = self.part.resumable(self.url)
        if kept is not None:
            # If-Range: a server whose file has changed since sends all of the new one instead.
            request.add_header("Range", f"bytes={kept[0]}-")
            request.add_header("If-Range", kept[1])
        with urllib.request.urlopen(request, timeout=self.timeout) as response:  # noqa: S310 - checked
            start = kept[0] if kept is not None and response.status == 206 else 0
            if start == 0:
                self.part.discard()
                self.part.mark.write_text(f"{self.url}\n{_validator(response)}", encoding="utf-8")
            length = response.headers.get("Content-Length")
            return self._append(response, start, start + int(length) if length else None)

    def _append(self, response: Any, done: int, total: int | None) -> bool:
        with self.part.path.open("ab" if done else "wb") as file:
            while chunk := response.read(CHUNK):
                if done == 0:
                    self._check_kind(chunk)
                file.write(chunk)
                done += len(chunk)
                if self.progress is not None:
                    self.progress(done, total)
        return done > 0 and (total is None or done == total)

    def _check_kind(self, head: bytes) -> None:
        """Refuse what does not begin like the wanted kind of file, above all web pages."""
        expected, begins = KINDS.get(Path(self.wanted.file).suffix, ("a data file", (b"",)))
        page = head.lstrip()[:1] == b"<"
        if not page and head.startswith(begins):
            return
        self.part.discard()
        known = f" with sha256 {self.wanted.sha256}..." if self.wanted.sha256 else ""
        raise self._unlike(
            f"{expected}, {self.wanted.file}{known}",
            f"{'a web page' if page else 'something else'} that begins with {head[:40]!r}; nothing "
            "was kept",
        )

    def _check_sum(self) -> None:
        """Refuse a complete file of the wrong content."""
        sha256 = self.wanted.sha256
        if sha256 is None:
            return
        found = file_sha256(self.part.path)
        if not found.startswith(sha256.lower()):
            self.part.discard()
            raise self._unlike(
                f"{self.wanted.file} with sha256 {sha256}...",
                f"{found[: max(16, len(sha256))]}...; nothing was kept",
            )

    def _unlike(self, expected: str, found: str) -> DownloadError:
        return DownloadError(f"{self.url}: expected {expected}, found {found}.")


def _request(url: str) -> urllib.request.Request:
    if not url.startswith(("https://", "http://")):
        raise DownloadError(f"{url}: expected an http or https address, found another.")
    headers = {"User-Agent": "certified-iqa-bench", "Accept-Encoding": "identity"}
    return urllib.request.Request(url, headers=headers)  # noqa: S310 - the scheme is checked above


def _validator(response: Any) -> str:
    """A strong mark of the file's version, empty if the server gives none."""
    tag = response.headers.get("ETag") or ""
    return tag if tag and not tag.startswith("W/") else response.headers.get("Last-Modified") or ""


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a zip or tar into a new folder, which appears only when all of it is there.

    Raises:
        DownloadError: the archive is damaged, encrypted or far larger than it looks, or a member
            would leave the folder.
    """
    aside = folder.with_name(folder.name + ".unpacking")
    shutil.rmtree(aside, ignore_errors=True)
    kind = "tar" if archive.suffix in (".tgz", ".gz", ".tar") else "zip"
    try:
        _unpack_tar(archive, aside) if kind == "tar" else _unpack_zip(archive, aside)
    except _DAMAGED as error:
        shutil.rmtree(aside, ignore_errors=True)
        raise DownloadError(
            f"{archive}: expected a whole {kind} archive, found {error}."
        ) from error
    shutil.rmtree(folder, ignore_errors=True)
    aside.replace(folder)
    return folder


_DAMAGED = (
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error),
    *(NotImplementedError, EOFError, OSError),
)
"""What the libraries raise over an archive that is not whole."""


def _unpack_zip(archive: Path, target: Path) -> None:
    with zipfile.ZipFile(archive) as opened:
        members = opened.infolist()
        for member in members:
            _check_place(archive, member.filename, link=stat.S_ISLNK(member.external_attr >> 16))
            if member.flag_bits & ENCRYPTED:
                raise DownloadError(
                    f"{archive}: expected an archive without a password, found "
                    f"{member.filename!r} encrypted; nothing was unpacked."
                )
        _check_size(archive, [member.file_size for member in members])
        for member in members:
            opened.extract(member, target)


def _unpack_tar(archive: Path, target: Path) -> None:
    with tarfile.open(archive) as opened:
        members = opened.getmembers()
        for member in members:
            _check_place(archive, member.name, link=not (member.isfile() or member.isdir()))
        _check_size(archive, [member.size for member in members])
        opened.extractall(target, filter="data")


def _check_place(archive: Path, name: str, *, link: bool) -> None:
    """Only plain files and folders below the target."""
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or ":" in name or link:
        raise DownloadError(
            f"{archive}: expected files below its own folder, found {name!r}; nothing was unpacked."
        )


def _check_size(archive: Path, sizes: Sequence[int]) -> None:
    """An archive that would fill the disk is refused before its first byte is unpacked."""
    if not sizes:
        raise DownloadError(f"{archive}: expected an archive of files, found none in it.")
    unpacked, most = sum(sizes), max(ROOM, GROWTH * archive.stat().st_size)
    if unpacked > most:
        raise DownloadError(
            f"{archive}: expected at most {most:,} bytes unpacked, found {unpacked:,}; "
            "nothing was unpacked."
        )
