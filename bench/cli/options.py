"""Options that several verbs share, and how their words are read.

This module knows words on the command line; it must not know what is done with them.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from bench.base.errors import BenchError

if TYPE_CHECKING:
    from bench.execution.options import Execution
    from bench.library.selection import Selection


def _existing_folder(folder: Path | None) -> Path | None:
    """The folder of data sets.

    Raises:
        BenchError: There is no such folder.
    """
    if folder is not None and not folder.is_dir():
        raise BenchError(f"--data-root: expected a folder, found none at {folder}.")
    return folder


Profile = Annotated[
    str, typer.Option("--profile", "-p", help="Shipped profile or path of a TOML file.")
]
Models = Annotated[str | None, typer.Option("--models", "-m", help="Models, separated by commas.")]
Defenses = Annotated[
    str | None,
    typer.Option(
        "--defenses",
        "-d",
        help="Defences, separated by commas; the undefended model is measured beside them.",
    ),
]
Sigmas = Annotated[str | None, typer.Option("--sigmas", help="Noise levels, separated by commas.")]
Limit = Annotated[int | None, typer.Option("--limit", help="Test images per data set.")]
Samples = Annotated[
    int | None,
    typer.Option(
        "--samples",
        help="Draws per certificate; on a CPU, those of an earlier run with fewer are used.",
    ),
]
NoExtras = Annotated[
    bool, typer.Option("--no-extras", help="Only the tables' cells, no rows beside them.")
]
Retrain = Annotated[
    bool, typer.Option("--retrain", help="Train what would be taken from the package.")
]
Device = Annotated[str, typer.Option("--device", help="auto, cpu, cuda or cuda:1.")]
Dataset = Annotated[
    str | None,
    typer.Option(
        "--dataset",
        help="Your data set: a dataset.toml, or a name; replaces the profile's wherever it fits.",
    ),
]
TrainOn = Annotated[
    str | None,
    typer.Option("--train-on", help="Another data set to train on, e.g. where yours is small."),
]
DataRoot = Annotated[
    Path | None,
    typer.Option(
        "--data-root", help="Folder of data sets; default: BENCH_DATA.", callback=_existing_folder
    ),
]
Jobs = Annotated[
    int | None, typer.Option("--jobs", "-j", min=1, help="Worker processes; default: cores.")
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Refuse where a model's files are missing; else skip it.")
]
Debug = Annotated[
    bool, typer.Option("--debug", help="One worker in this process; exceptions come through.")
]
Plugin = Annotated[
    list[Path] | None, typer.Option("--plugin", help="Python file with own parts; repeatable.")
]
Results = Annotated[Path, typer.Option("--results", help="Folder of all runs.")]
Reports = Annotated[Path, typer.Option("--reports", help="Folder of all reports.")]
Run = Annotated[
    Path | None, typer.Argument(help="Folder of a run; default: the latest.", metavar="[RUN]")
]
PLANNING = "planning; the shipped data set is made when it is first asked for"
"""What a terminal shows meanwhile: the first time is half a minute."""
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def plugin_paths(given: Sequence[Path] | None) -> tuple[str, ...]:
    """Plugin files: those that the working directory declares, then those of ``--plugin``."""
    from bench.plugins.local import plugin_files

    return plugin_files(given or ())


@dataclass(frozen=True, slots=True)
class Asked:
    """What ``run``, ``fit`` and ``plan`` are asked alike: which part of a profile, and where."""

    profile: Profile = "embedded"
    models: Models = None
    defenses: Defenses = None
    sigmas: Sigmas = None
    limit: Limit = None
    samples: Samples = None
    no_extras: NoExtras = False
    retrain: Retrain = False
    dataset: Dataset = None
    train_on: TrainOn = None
    data_root: DataRoot = None
    device: Device = "auto"
    jobs: Jobs = None
    plugin: Plugin = None
    results: Results = Path("results")

    def selection(self) -> Selection:
        """What is to be run."""
        from bench.library.selection import Selection
        from bench.plan.loading import Overrides

        overrides = Overrides(
            models=split(self.models),
            defenses=split(self.defenses),
            sigmas=numbers(self.sigmas),
            limit=self.limit,
            samples=self.samples,
            no_extras=self.no_extras,
            retrain=self.retrain,
            train=self.train_on,
        )
        return Selection(self.profile, overrides, self.dataset)

    def execution(self, **more: Any) -> Execution:
        """How, with what a verb adds to it."""
        from bench.base.devices import resolve_device
        from bench.execution.options import Execution

        return Execution(
            device=resolve_device(self.device),
            jobs=self.jobs,
            plugins=plugin_paths(self.plugin),
            data_root=self.data_root,
            **more,
        )


def spelt_out(verb: Callable[..., None]) -> Callable[..., None]:
    """The verb with every field of its parameter ``asked`` as an option of its own."""
    fields = inspect.signature(Asked, eval_str=True).parameters
    own = inspect.signature(verb, eval_str=True).parameters

    @wraps(verb)
    def called(**given: Any) -> None:
        verb(asked=Asked(**{name: given.pop(name) for name in fields}), **given)

    options = [
        option.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name in own
        for option in (fields.values() if name == "asked" else [own[name]])
    ]
    called.__dict__["__signature__"] = inspect.Signature(options)
    called.__annotations__ = {option.name: option.annotation for option in options}
    return called


def split(text: str | None) -> tuple[str, ...] | None:
    """Names between commas; None if the option was not given."""
    if text is None:
        return None
    return tuple(name for part in text.split(",") if (name := part.strip()))


def numbers(text: str | None) -> tuple[float, ...] | None:
    """Numbers between commas; None if the option was not given."""
    try:
        return None if text is None else tuple(map(float, split(text) or ()))
    except ValueError:
        raise BenchError(
            f"--sigmas: expected numbers separated by commas, found {text!r}."
        ) from None
