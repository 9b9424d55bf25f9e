"""Patches of JSON documents: RFC 7396 (merge patch) and RFC 6902 (JSON patch). Values in, values out."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import orjson
from jsonpatch import InvalidJsonPatch, JsonPatch, JsonPatchException
from jsonpointer import JsonPointer, JsonPointerException

from stacyard.core.errors import Conflict, InvalidRequest

#: Operations that a JSON patch may hold; each may cost a look at the whole document.
MAX_OPERATIONS = 250

_MESSAGE_LENGTH = 200


def merge_patch(target: Any, patch: Any) -> Any:
    """The target with a merge patch applied, by the algorithm of RFC 7396, section 2. Both stay as they are."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged


def json_patch(target: Any, operations: list[Any], *, max_bytes: int) -> Any:
    """The target with a JSON patch applied. The target stays as it is.

    Args:
        target: the document.
        operations: the patch.
        max_bytes: the size that the document may come to as JSON; copies of copies double it with each operation.

    Raises:
        InvalidRequest: the patch is none by RFC 6902; the message names the operation.
        Conflict: it does not fit the document: a place is not there, or a test fails (RFC 5789, section 2.2).
    """
    if len(operations) > MAX_OPERATIONS:
        raise InvalidRequest(f"the patch has {len(operations)} operations: send {MAX_OPERATIONS} at the most")
    document = deepcopy(target)
    for index, operation in enumerate(operations):
        place = f"/{index}"
        patch = _operation(operation, place)
        try:
            document = patch.apply(document, in_place=True)
        except InvalidJsonPatch as error:
            raise _no_operation(place, error) from error
        except (JsonPatchException, JsonPointerException, LookupError, TypeError, AttributeError) as error:
            raise Conflict(f"{place}: the operation does not fit what is there: {_brief(error)}") from error
        if operation["op"] == "copy" and not _is_below(document, max_bytes):
            raise InvalidRequest(f"{place}: what is there would become too large or too deep", parameter=place)
    return document


def _operation(operation: Any, place: str) -> JsonPatch:
    try:
        patch = JsonPatch([operation])
        for pointer in ("path", "from"):
            JsonPointer(operation.get(pointer, ""))
    except (JsonPatchException, JsonPointerException, TypeError) as error:
        raise _no_operation(place, error) from error
    return patch


def _no_operation(place: str, error: Exception) -> InvalidRequest:
    return InvalidRequest(f"{place}: this is no operation of a JSON patch: {_brief(error)}", parameter=place)


def _is_below(document: Any, max_bytes: int) -> bool:
    try:
        return len(orjson.dumps(document)) <= max_bytes
    except orjson.JSONEncodeError:
        return False


def _brief(error: Exception) -> str:
    # the library's messages repeat the document
    return str(error)[:_MESSAGE_LENGTH]
