"""Say in words what a key of config.toml may hold, as the settings themselves define it."""

from collections.abc import Sequence
from types import UnionType
from typing import Any, Literal, Union, cast, get_args, get_origin

import annotated_types
from pydantic import BaseModel
from pydantic.fields import FieldInfo

_KINDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def describe_allowed(settings: type[BaseModel], place: Sequence[str | int]) -> str:
    """Say what the key at `place` takes, such as "a whole number, 1 to 10"; empty where words would add nothing."""
    field = find_field(settings, place)
    if field is None or (place and isinstance(place[-1], int)):
        return ""
    if get_origin(field.annotation) is Literal:
        return "one of " + ", ".join(f'"{value}"' for value in get_args(field.annotation))
    kind = _KINDS.get(_without_none(field.annotation), "")
    limits = _describe_limits(field.metadata)
    return ", ".join(part for part in (kind, limits) if part)


def find_field(settings: type[BaseModel], place: Sequence[str | int]) -> FieldInfo | None:
    """Return the definition of the key at `place`; the numbers of a list's tables in it count for nothing."""
    table: Any = settings
    field: FieldInfo | None = None
    for key in place:
        if not isinstance(key, str):
            continue
        if not (isinstance(table, type) and issubclass(table, BaseModel)) or key not in table.model_fields:
            return None
        field = table.model_fields[key]
        table = cast("Any", next(iter(get_args(field.annotation)), field.annotation))
    return field


def _without_none(annotation: Any) -> Any:
    """Return the type that may also be absent; any other as it is."""
    if get_origin(annotation) in {Union, UnionType}:
        return next(kind for kind in get_args(annotation) if kind is not type(None))
    return annotation


def _describe_limits(metadata: Sequence[Any]) -> str:
    """Say the bounds of a number, both in one where there are two."""
    kinds = {"ge": annotated_types.Ge, "gt": annotated_types.Gt, "le": annotated_types.Le, "lt": annotated_types.Lt}
    bounds = {name: getattr(item, name) for item in metadata for name in kinds if isinstance(item, kinds[name])}
    if set(bounds) == {"ge", "le"}:
        return f"{bounds['ge']:g} to {bounds['le']:g}"
    words = {"ge": "at least", "gt": "more than", "le": "at most", "lt": "less than"}
    return " and ".join(f"{words[name]} {bounds[name]:g}" for name in words if name in bounds)
