"""Which Python files a plugin's numbers depend on, and the digest of their text.

A package counts whole; of single files, what they import counts as well, as far as it is neither
installed nor ours.  This module reads code and must not execute any; it must not know parts.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import site
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

from bench.base.cache import source_sha256
from bench.base.files import file_sha256

Files = Mapping[str, Path]
"""Places of files by a name that is the same on every machine."""
INSTALLED = {"site-packages", "dist-packages"}
"""Folders of installed packages, also those of another environment that this one was linked to."""
_OURS = tuple(Path(__file__).resolve().parents[2] / n for n in ("bench", "defenses", "iqa_models"))


def digest(files: Files) -> str:
    """SHA-256 over names and contents."""
    found = hashlib.sha256()
    for name in sorted(files):
        found.update(f"{name}\0{file_sha256(files[name])}\n".encode())
    return found.hexdigest()


def files_of_file(path: Path) -> Files:
    """A plugin file, whatever its name, with the local modules that it imports."""
    return _with_local_imports({"": path.resolve()})


def files_of_entry(entry: metadata.EntryPoint) -> Files:
    """Every Python file of an entry point's distribution, or of its package where that is linked.

    An editable installation lists no files of its own; the package's folder has them.
    """
    listed = entry.dist.files if entry.dist is not None else None
    files = {
        file.as_posix(): Path(str(file.locate())).resolve()
        for file in listed or ()
        # What links an editable package names a place.
        if file.suffix == ".py" and not file.name.startswith("__editable__")
    }
    return _with_local_imports({**_top_level(entry.value.split(":")[0]), **files})


def modules_sha256(*modules: str) -> str:
    """Digest of the code of modules: of ours their own files, of a plugin's all there is."""
    ours, theirs = [], []
    for name in modules:
        place = _place(name.split(".")[0])
        if place is None or _is_ours(place):
            ours.append(name)
        elif place in (files := _top_level(name)).values() and len(files) == 1:
            theirs.append(digest(files_of_file(place)))
        else:
            theirs.append(digest(_with_local_imports(files)))
    own = source_sha256(*ours)
    return hashlib.sha256("\n".join([own, *theirs]).encode()).hexdigest() if theirs else own


def _with_local_imports(files: Files) -> Files:
    """The files, and all local modules that they import, directly or not."""
    found, waiting, known = dict(files), list(files.values()), set(files.values())
    while waiting:
        for module in _imported(waiting.pop()):
            place = _place(module)
            if place is None or place in known or not _is_local(place):
                continue
            new = {n: p for n, p in _top_level(module).items() if p not in known}
            found |= new
            known.update(new.values())
            waiting += new.values()
    return found


def _imported(file: Path) -> Iterator[str]:
    """Top-level modules that a file names in absolute imports, wherever they stand."""
    try:
        tree = ast.parse(file.read_bytes())
    except (SyntaxError, ValueError):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.split(".")[0]


def _top_level(module: str) -> Files:
    """All Python files of a module's top-level package, or the one file of a single module."""
    name = module.split(".")[0]
    place = _place(name)
    if place is None:
        return {}
    if place.is_file() and place.name != "__init__.py":
        return {f"{name}.py": place}
    folder = place if place.is_dir() else place.parent
    return {f"{name}/{file.relative_to(folder).as_posix()}": file for file in folder.rglob("*.py")}


def _place(name: str) -> Path | None:
    """File of a top-level module, or folder of a package without one; None for built-in ones."""
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):  # a module without a spec, e.g. __main__
        return None
    if spec is None:
        return None
    if spec.has_location and spec.origin is not None:
        return Path(spec.origin).resolve()
    folders = list(spec.submodule_search_locations or ())
    return Path(folders[0]).resolve() if folders else None


def _is_ours(place: Path) -> bool:
    return any(place.is_relative_to(folder) for folder in _OURS)


def _is_local(place: Path) -> bool:
    """Neither ours nor installed: somebody's own code, which may change from run to run."""
    installed = [*site.getsitepackages(), site.getusersitepackages()]
    installed += [path for key, path in sysconfig.get_paths().items() if "lib" in key]
    installed += [str(Path(sys.base_prefix) / "lib")]
    known = (Path(one).resolve() for one in installed)
    return not (
        _is_ours(place)
        or INSTALLED.intersection(place.parts)
        or any(place.is_relative_to(one) for one in known)
    )
