"""What stac-fastapi's API definition does not know of our searches: the forms in which they can go out."""

from __future__ import annotations

from typing import Any

from stacyard.stac.formats.form import FORMS

_SEARCHES = (("/search", "get"), ("/search", "post"), ("/collections/{collection_id}/items", "get"))
_FORM = {
    "name": "f",
    "in": "query",
    "required": False,
    "description": (
        "The form of the answer, which wins over Accept. All but json hold everything that is found, up to limit, and "
        "say by the header OGC-NumberReturned how many items that is."
    ),
    "schema": {"type": "string", "enum": ["json", *(form.names[0] for form in FORMS)], "default": "json"},
}
_BYTES = {"schema": {"type": "string", "format": "binary"}}


def with_exports(definition: dict[str, Any]) -> dict[str, Any]:
    """The definition, in which searches have the parameter `f` and answers of every form; it itself stays as it is."""
    paths = dict(definition["paths"])
    for path, method in _SEARCHES:
        operation = dict(paths[path][method])
        operation["parameters"] = [*operation.get("parameters", ()), _FORM]
        answer = operation["responses"]["200"]
        content = {**answer.get("content", {}), **{form.media_types[0]: _BYTES for form in FORMS}}
        operation["responses"] = {**operation["responses"], "200": {**answer, "content": content}}
        paths[path] = {**paths[path], method: operation}
    return {**definition, "paths": paths}
