"""Read a YAML file into a pydantic model, so that every error names the file, the line and the remedy."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from stacyard.ingestor.errors import RecipeError

Model = TypeVar("Model", bound=BaseModel)
Location = tuple[int | str, ...]


def read_located(text: str, name: str, model: type[Model]) -> Model:
    """The model that a YAML text holds.

    Args:
        text: the YAML.
        name: what errors call it, usually the path of the file.
        model: a model that refuses unknown keys.

    Raises:
        RecipeError: one line for each error, `name:line: what is wrong and what to do`.
    """
    try:
        content = YAML(typ="rt", pure=True).load(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise RecipeError(f"{name}:{line}: this is not YAML: {error.problem or error.context}") from error
    except YAMLError as error:
        raise RecipeError(f"{name}:1: this is not YAML: {error}") from error
    if not isinstance(content, CommentedMap):
        raise RecipeError(f"{name}:1: a recipe is a mapping of keys to values; the file holds something else")
    try:
        return model.model_validate(_plain(content))
    except ValidationError as error:
        lines = [_sentence(detail, name, content, model) for detail in error.errors()]
        raise RecipeError("\n".join(dict.fromkeys(lines))) from error


def _plain(value: Any) -> Any:
    """The same content without ruamel's types, some of which pydantic would keep as they are."""
    if isinstance(value, CommentedMap):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, CommentedSeq):
        return [_plain(inner) for inner in value]
    for kind in (bool, int, float, str):
        if isinstance(value, kind):
            return kind(value)
    return value


def _sentence(detail: ErrorDetails, name: str, content: CommentedMap, model: type[BaseModel]) -> str:
    path, line = _locate(content, detail["loc"])
    place = f"under {'.'.join(str(part) for part in path[:-1])}" if len(path) > 1 else "at the top"
    key = path[-1] if path else ""
    match detail["type"]:
        case "extra_forbidden":
            text = f"unknown key {key!r} {place}{_suggestion(str(key), _siblings(model, path[:-1]))}"
        case "missing":
            text = f"key {detail['loc'][-1]!r} is missing {_under(path)}"
        case "value_error":
            text = f"{_under(path, 'in')}{detail['msg'].removeprefix('Value error, ')}"
        case _:
            message = detail["msg"][:1].lower() + detail["msg"][1:]
            text = f"{'.'.join(str(part) for part in path)} is {detail['input']!r}: {message}"
    return f"{name}:{line}: {text}"


def _under(path: Location, word: str = "under") -> str:
    if word == "in":
        return f"{'.'.join(str(part) for part in path)}: " if path else ""
    return f"{word} {'.'.join(str(part) for part in path)}" if path else "at the top"


def _locate(content: Any, location: Location) -> tuple[Location, int]:
    """As much of an error's location as the file has, and the line (from 1) where that stands."""
    path: list[int | str] = []
    line = 1
    for part in location:
        if isinstance(content, CommentedMap) and part in content:
            line = content.lc.key(part)[0] + 1
        elif isinstance(content, CommentedSeq) and isinstance(part, int) and part < len(content):
            line = content.lc.item(part)[0] + 1
        else:
            continue
        content = content[part]
        path.append(part)
    return tuple(path), line


def _suggestion(key: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known are {', '.join(sorted(known))}" if known else ""


def _siblings(model: type[BaseModel], path: Location) -> list[str]:
    """The keys that a model knows at a place."""
    models = [model]
    for part in path:
        annotations = [
            annotation
            for each in models
            for annotation in ([each.model_fields[str(part)].annotation] if str(part) in each.model_fields else [])
        ]
        # below a list or a mapping the part is an index or a free name: the model stays that of the values
        models = [found for annotation in annotations for found in _models(annotation)] or models
    return sorted({name for each in models for name in each.model_fields})


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif isinstance(annotation, types.UnionType) or typing.get_origin(annotation) is not None:
        for inner in typing.get_args(annotation):
            yield from _models(inner)
