"""What a part of a defence or a model is, by content: type, own fields, code and state.

Whatever is kept under a name alone is one day served to another of that name.  This module knows
Python objects and tensors; it must not know where anything is kept, nor what any part does.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Mapping
from dataclasses import asdict, fields, is_dataclass
from functools import cache
from types import CodeType, FunctionType, MethodType
from typing import Any

from torch import Tensor, nn

from bench.base.errors import BenchError
from bench.plugins.sources import modules_sha256
from iqa_models.base import IQAModel
from iqa_models.weights import state_sha256

_FOREIGN = frozenset({*sys.stdlib_module_names, "torch"})
"""Their versions are in a run's provenance; they are not what tells two parts apart."""


def identity(part: object) -> dict[str, Any]:
    """Type, own fields and code of a smoother or a trained part, as plain values.

    Equal on every machine for equal content, and where a plugin's file lies does not count.

    >>> from defenses.smoothers import DenoisedSmoother, InputSmoother
    >>> identity(InputSmoother()) == identity(InputSmoother())
    True
    >>> identity(InputSmoother()) == identity(DenoisedSmoother(name="input", part=None))
    False
    """
    kind = type(part)
    return {"type": kind.__qualname__, "fields": _fields(part), "code": code_sha256(kind)}


def same(one: object, other: object) -> bool:
    """Whether two parts of one process are the same; classes made by a function count as made."""
    return type(one) is type(other) and identity(one) == identity(other)


def code_sha256(kind: type) -> str:
    """Digest of the modules that define a class and those it inherits from."""
    modules = (base.__module__ for base in kind.__mro__)
    return _code(tuple(m for m in modules if m.split(".")[0] not in _FOREIGN))


@cache  # a class's code was read when it was imported; a plugin's whole package takes seconds
def _code(modules: tuple[str, ...]) -> str:
    return modules_sha256(*modules)


def model_identity(model: IQAModel) -> dict[str, Any]:
    """Name, edition, type, code and state of a model: equal weights do not make two models one."""
    ours = {type(m).__module__ for m in model.modules() if type(m).__module__[:11] == "iqa_models."}
    return {
        "edition": model.edition,
        "card": asdict(model.card),
        "type": type(model).__qualname__,
        "code": [code_sha256(type(model)), modules_sha256(*ours)],
        "state": state_sha256(model),
    }


def _bytes(value: Tensor) -> bytes:
    return value.detach().cpu().contiguous().numpy().tobytes()


def _fields(part: object) -> dict[str, Any]:
    """A value object's fields, or all that another object would be made again from."""
    if is_dataclass(part):
        return {field.name: _plain(getattr(part, field.name)) for field in fields(part)}
    try:
        made_of = part.__reduce_ex__(2)  # as pickle and copy do; nothing is written or read
    except TypeError as error:
        raise BenchError(
            f"{type(part).__module__}.{type(part).__qualname__}: expected a value that can be told "
            f"from another by its content, found that Python {error}."
        ) from error
    return {"made of": _plain(made_of)}


def _plain(value: Any) -> Any:
    """A field's value as JSON that no other value has."""
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return [type(value).__name__, repr(value)]
    if isinstance(value, Mapping):
        return ["mapping", sorted([str(key), _plain(item)] for key, item in value.items())]
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return ["set", sorted(map(repr, value))]
    if isinstance(value, nn.Module):
        return [type(value).__qualname__, state_sha256(value)]
    if isinstance(value, Tensor):
        return [str(value.dtype), list(value.shape), hashlib.sha256(_bytes(value)).hexdigest()]
    if hasattr(value, "tobytes"):  # an array
        return [str(value.dtype), list(value.shape), hashlib.sha256(value.tobytes()).hexdigest()]
    if callable(value) and hasattr(value, "__qualname__"):
        return ["callable", *_name(value), *_held(value)]
    return identity(value)


def _name(value: Any) -> list[Any]:
    """Where a function or class stands: two lambdas have one name, but not one place."""
    code = getattr(value, "__code__", None)
    places = list(code.co_positions()) if isinstance(code, CodeType) else []
    return [value.__module__, value.__qualname__, hashlib.sha256(repr(places).encode()).hexdigest()]


def _held(value: Any) -> list[Any]:
    """What a function brings along: its owner, its defaults and the variables around it."""
    if not isinstance(value, FunctionType | MethodType):
        return []
    owner = getattr(value, "__self__", None)
    function = value.__func__ if isinstance(value, MethodType) else value
    if not isinstance(function, FunctionType):  # a method of something else that can be called
        return [_plain(owner), _plain(function)]
    around = [cell.cell_contents for cell in function.__closure__ or ()]
    # A function around it may hold this one, and so on without end.
    named = [_name(one) if isinstance(one, FunctionType) else _plain(one) for one in around]
    return [_plain(owner), _plain([function.__defaults__, function.__kwdefaults__]), named]
