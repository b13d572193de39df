"""What editors are told agrees with what the gateway takes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.dialplan import actions
from gateway.dialplan.schema import json_schema

SHIPPED = Path(__file__).parents[2] / "dialplans" / "default.yaml"
TYPES = {
    "object": dict,
    "array": list,
    "string": str,
    "integer": int,
    "number": (int, float),
    "boolean": bool,
    "null": type(None),
}


def fits(value: Any, schema: dict[str, Any], root: dict[str, Any]) -> bool:
    """As much of JSON Schema as the dialplan's needs."""
    if "$ref" in schema:
        return fits(value, root["$defs"][schema["$ref"].rpartition("/")[2]], root)
    if "anyOf" in schema and not any(fits(value, one, root) for one in schema["anyOf"]):
        return False
    if "enum" in schema and value not in schema["enum"]:
        return False
    kinds = schema.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if kinds and not any(isinstance(value, TYPES[kind]) for kind in kinds):
        return False
    if isinstance(value, list):
        return all(fits(item, schema.get("items", {}), root) for item in value)
    return not isinstance(value, dict) or _object_fits(value, schema, root)


def _object_fits(value: dict[str, Any], schema: dict[str, Any], root: dict[str, Any]) -> bool:
    if set(schema.get("required", [])) - set(value) or len(value) > schema.get("maxProperties", 1000):
        return False
    known, others = schema.get("properties", {}), schema.get("additionalProperties", True)
    for key, item in value.items():
        inner = known.get(key, {} if others is True else others)
        if inner is False or not fits(item, inner, root):
            return False
    return True


def test_the_shipped_dialplan_fits_the_schema() -> None:
    """An editor that underlines a sound file would be switched off."""
    schema = json_schema()
    assert fits(yaml.safe_load(SHIPPED.read_text("utf-8")), schema, schema)


@pytest.mark.parametrize(
    "text",
    [
        "routes: {a: {steps: [anwser]}}",
        "routes: {a: {steps: [{say: {tekst: Hi}}]}}",
        "routes: {a: {steps: [{answer: , say: Hi}]}}",
        "routes: {a: {match: {calld: 1}, steps: [answer]}}",
        "routes: {a: {steps: [say]}}",
        "flows: {f: {nodes: {n: {say: Hi}}}}",
        "route: {}",
    ],
)
def test_the_schema_refuses_what_the_check_refuses(text: str) -> None:
    """The common slips are seen while typing."""
    schema = json_schema()
    assert not fits(yaml.safe_load(text), schema, schema)


@pytest.mark.parametrize(
    "text",
    [
        "routes: {a: {steps: [answer, say: Hi, {wait: 3}, {wait: 500ms}, {say: {text: 12, barge_in: off}}, echo]}}",
        "routes: {a: {match: {called: 1000, share: 20%}, steps: [{set: {a: b}}, {hangup: }]}}",
        "flows: {f: {nodes: {n: {ask: Hi, next: {no: x}}, x: {finish: y}}}}",
        "routes: {a: {steps: [{menu: {say: a, choices: [{digits: 1, then: [answer]}, {phrases: x, then: b}]}}]}}",
    ],
)
def test_the_schema_takes_shorthands(text: str) -> None:
    """And values that YAML has a type for."""
    schema = json_schema()
    assert fits(yaml.safe_load(text), schema, schema)


def test_the_schema_is_plain_json_and_explains_each_action() -> None:
    """The help of an action is in the editor's tooltip."""
    schema = json_schema()
    assert json.loads(json.dumps(schema)) == schema
    written = schema["$defs"]["Step"]["anyOf"][1]["properties"]
    assert set(written) == set(actions.names())
    assert all(about["description"] for about in written.values())
