"""JSON Schema of a dialplan file, for editors that complete and check while one types; made from the types."""

from __future__ import annotations

from inspect import cleandoc
from typing import Any

import msgspec

from gateway.dialplan import actions
from gateway.dialplan.kinds import AS_TEXT
from gateway.dialplan.model import Document

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The schema of one file. Looser than `check` where a file is looser than JSON: a plain 1000 is a text too."""
    found = [action for name in actions.names() if (action := actions.find(name)) is not None]
    schemas, parts = msgspec.json.schema_components(
        [Document, *(action.Options for action in found)], ref_template="#/$defs/{name}"
    )
    document, options = schemas[0], schemas[1:]
    parts["Step"] = _step(found, options, parts)
    root = parts[_name(document)]
    plain = msgspec.json.decode(msgspec.json.encode({"$defs": parts, **root, "required": []}))
    loosened: dict[str, Any] = _loosen(plain)
    return {"$schema": _DIALECT, **loosened, "title": "Dialplan"}


def _name(reference: dict[str, Any]) -> str:
    return str(reference["$ref"]).rpartition("/")[2]


def _step(found: list[actions.Action], options: tuple[Any, ...], parts: dict[str, Any]) -> dict[str, Any]:
    """A bare word for an action without required options, else one key: the action, with its options or shorthand."""
    written = {action.name: _value(action, parts[_name(one)], one) for action, one in zip(found, options, strict=True)}
    bare = [action.name for action, one in zip(found, options, strict=True) if not parts[_name(one)].get("required")]
    return {
        "anyOf": [
            {"enum": bare},
            {
                "type": "object",
                "properties": written,
                "minProperties": 1,
                "maxProperties": 1,
                "additionalProperties": False,
            },
        ]
    }


def _value(action: actions.Action, part: dict[str, Any], reference: dict[str, Any]) -> dict[str, Any]:
    alternatives: list[Any] = [reference]
    needed = set(part.get("required", []))
    if action.shorthand and needed <= {action.shorthand}:
        alternatives.append(part["properties"][action.shorthand])
    if not needed:
        alternatives.append({"type": "null"})
    return {"description": action.help, "anyOf": alternatives}


def _loosen(schema: Any) -> Any:
    """Texts take plain numbers and truths, which YAML tells apart and we do not; tags are not written."""
    if isinstance(schema, list):
        return [_loosen(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.pop(AS_TEXT, False):
        return {**schema, "type": ["string", "number"]}
    if schema.get("type") == "string":
        return {**schema, "type": ["string", "number", "boolean"]}
    if "enum" in schema and {"off", "on", "yes", "no"} & set(map(str, schema["enum"])):
        return {**schema, "enum": [*schema["enum"], True, False]}
    looser = {key: _loosen(value) for key, value in schema.items() if key != "discriminator"}
    if isinstance(schema.get("description"), str):
        looser["description"] = cleandoc(schema["description"])
    if "properties" in looser and isinstance(schema.get("properties"), dict):
        _drop_tag(looser, schema["properties"])
    return looser


def _drop_tag(looser: dict[str, Any], properties: dict[str, Any]) -> None:
    """`node: ask` tells the node types apart in JSON; an operator's file shows it by the keys."""
    tag = properties.get("node", {})
    if list(tag) == ["enum"] and looser.get("required"):
        del looser["properties"]["node"]
        looser["required"] = [name for name in looser["required"] if name != "node"]
