"""Queries and bodies as the types that the table declares, or every wrong field named.

Deliberately not here: the fields of messages, which have a faster way (fields.py).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import inspect

from gateway.http.fields import check_json, invalid, read_object, reason, unknown_field
from gateway.http.problems import FieldError
from gateway.http.request import Request

T = TypeVar("T", bound=msgspec.Struct)

_MOST_FIELDS = 50
_COUNTING = (inspect.IntType, inspect.FloatType, inspect.BoolType)


def read_query(query: str, wanted: type[T]) -> T:
    """The parameters of a query. Errors: BadRequest, with every wrong one."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MOST_FIELDS, errors="strict")
    except UnicodeDecodeError:
        raise invalid([FieldError("query", "percent-encoded UTF-8")]) from None
    except ValueError:
        raise invalid([FieldError("query", f"at most {_MOST_FIELDS} parameters")]) from None
    given: dict[str, str] = {}
    errors = []
    for name, value in pairs:
        if name in given:
            errors.append(FieldError(name[:64], "give it once"))
        given[name] = value
    return _read(given, wanted, errors, strict=False)


def read_body(request: Request, wanted: type[T], *, may_be_empty: bool = False) -> T:
    """The fields of a JSON object. Errors: BadRequest, with every wrong one."""
    if may_be_empty and not request.body.strip():
        return _read({}, wanted, [], strict=True)
    check_json(request.headers.get(b"content-type"))
    names = ", ".join(field.encode_name for field in msgspec.structs.fields(wanted))
    given = read_object(request.body, f"an object with {names}" if names else "an empty object")
    return _read(given, wanted, [], strict=True)


def _read(given: Mapping[str, Any], wanted: type[T], errors: list[FieldError], *, strict: bool) -> T:
    fields = {field.encode_name: field for field in msgspec.structs.fields(wanted)}
    values: dict[str, Any] = {}
    for name, value in given.items():
        field = fields.get(name)
        if field is None:
            errors.append(unknown_field(name, tuple(fields)))
            continue
        try:
            values[field.name] = msgspec.convert(value, field.type, strict=strict or not _counts(field.type))
        except msgspec.ValidationError as error:
            what = _described(field.type)
            errors.append(FieldError(name, f"{what} ({reason(error)})" if what else reason(error)))
    for name, field in fields.items():
        if field.required and name not in given:
            errors.append(FieldError(name, f"required: {_described(field.type) or 'it must be there'}"))
    if errors:
        raise invalid(errors)
    return wanted(**values)


@functools.cache
def _counts(of: Any) -> bool:
    """Whether a number or a yes or no is wanted, which in a query are text as all else. Times are none: a
    number would be taken for one since 1970."""
    told = inspect.type_info(of)
    found = told.types if isinstance(told, inspect.UnionType) else (told,)
    return any(isinstance(one.type if isinstance(one, inspect.Metadata) else one, _COUNTING) for one in found)


def _described(of: Any) -> str:
    """What its Meta says of a type."""
    told = inspect.type_info(of)
    if isinstance(told, inspect.UnionType):
        found = (_described_info(one) for one in told.types)
        return next((text for text in found if text), "")
    return _described_info(told)


def _described_info(told: inspect.Type) -> str:
    if isinstance(told, inspect.Metadata):
        return str((told.extra_json_schema or {}).get("description", ""))
    return ""
