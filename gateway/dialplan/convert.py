"""YAML nodes into typed values, guided by the types themselves; every fault is kept with its place, none stops it.

Texts are taken as they stand in the file, whatever YAML 1.1 would make of them: `off`, `no`, `0049` and `9:30` are
not booleans, octal numbers or sixties where a text is wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, Literal

import msgspec
import yaml
from msgspec import inspect
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from gateway.dialplan import actions
from gateway.dialplan.model import Fault, Step
from gateway.dialplan.places import Place, Places, did_you_mean, fault_at

Form = Literal["scalar", "sequence", "mapping", "any"]
INVALID: Any = object()
"""Stands for a value of which nothing could be made; the fault is noted."""

_SCALARS = (inspect.StrType, inspect.IntType, inspect.FloatType, inspect.BoolType, inspect.LiteralType)
_FORM_NAMES = {"scalar": "a single value", "sequence": "a list", "mapping": "`key: value` lines"}


class Mention(msgspec.Struct, frozen=True):
    """A value of a kind (see `kinds`) that the checks look at."""

    kind: str
    value: str
    place: Place
    node: Node


class Converter:
    """Converts one tree. `places` says where values and their keys stand, for the checks that follow.

    Files that it names are beside it, or `files_in` another folder.
    """

    def __init__(self, files_in: Path | None = None) -> None:
        self._files_in = files_in
        self.faults: list[Fault] = []
        self.mentions: list[Mention] = []
        self.steps: list[tuple[Place, Step]] = []
        self.places = Places()
        self._parents: list[tuple[Place, str]] = []
        self._scalars: dict[type, Callable[[ScalarNode, Any, Place], Any]] = {
            inspect.StrType: self._text,
            inspect.IntType: self._number,
            inspect.FloatType: self._number,
            inspect.BoolType: self._truth,
            inspect.LiteralType: self._one_of,
        }

    def convert(self, node: Node, wanted: Any, place: Place = ()) -> Any:
        """A value of the type `wanted`, or INVALID."""
        return self._value(node, inspect.type_info(wanted), place)

    def fault(self, node: Node, message: str, remedy: str = "") -> Any:
        self.faults.append(fault_at(node, message, remedy))
        return INVALID

    def _value(self, node: Node, info: Any, place: Place) -> Any:
        self.places.nodes[place] = node
        if isinstance(info, inspect.UnionType):
            return self._union(node, info, place)
        if isinstance(info, inspect.Metadata):
            return self._kind(node, info, place)
        if isinstance(info, inspect.AnyType):
            return self._builtins(node)
        if isinstance(info, inspect.StructType) and info.cls is Step:
            return self._step(node, place)
        if isinstance(info, _SCALARS):
            return self._scalar(node, info, place)
        if isinstance(info, inspect.StructType | inspect.DictType):
            if not isinstance(node, MappingNode):
                return self._wrong(node, "mapping", place)
            return (
                self._struct(node, info, place)
                if isinstance(info, inspect.StructType)
                else self._dict(node, info, place)
            )
        if isinstance(info, inspect.VarTupleType | inspect.ListType):
            return self._list(node, info, place)
        raise TypeError(f"options cannot hold {info}")

    def _wrong(self, node: Node, wanted: str, place: Place) -> Any:
        return self.fault(node, f"{_name(place)} must be {_FORM_NAMES[wanted]}, not {_looks(node)}")

    # Mappings and lists

    def _struct(self, node: MappingNode, info: inspect.StructType, place: Place) -> Any:
        fields = {field.encode_name: field for field in info.fields}
        values: dict[str, Any] = {}
        complete = True
        for key, value in node.value:
            field = fields.get(key.value)
            self.places.keys[(*place, key.value)] = key
            if field is None:
                self.fault(key, f"{_name(place)} has no `{key.value}`", did_you_mean(key.value, fields))
                continue
            converted = self._value(value, field.type, (*place, key.value))
            if converted is not INVALID:
                values[field.name] = converted
            elif field.required:
                complete = False
        given = {key.value for key, _ in node.value}
        for name, field in fields.items():
            if field.required and name not in given:
                complete = False
                self.fault(self.places.keys.get(place, node), f"{_name(place)} needs `{name}`", f"add `{name}:`")
        return info.cls(**values) if complete else INVALID

    def _dict(self, node: MappingNode, info: inspect.DictType, place: Place) -> Any:
        converted: dict[str, Any] = {}
        for key, value in node.value:
            inner = (*place, key.value)
            self.places.keys[inner] = key
            name = self._value(key, info.key_type, inner)
            item = self._value(value, info.value_type, inner)
            if name is not INVALID and item is not INVALID:
                converted[name] = item
        return converted

    def _list(self, node: Node, info: inspect.VarTupleType | inspect.ListType, place: Place) -> Any:
        if not isinstance(node, SequenceNode):
            return self._wrong(node, "sequence", place)
        items = (self._value(item, info.item_type, (*place, index)) for index, item in enumerate(node.value))
        sound = [item for item in items if item is not INVALID]
        return sound if isinstance(info, inspect.ListType) else tuple(sound)

    def _builtins(self, node: Node) -> Any:
        try:
            return yaml.constructor.SafeConstructor().construct_document(node)
        except (yaml.YAMLError, ValueError, OverflowError) as error:
            return self.fault(node, f"cannot be read: {str(error).splitlines()[0]}")

    # Alternatives

    def _union(self, node: Node, info: inspect.UnionType, place: Place) -> Any:
        types = [one for one in info.types if not isinstance(one, inspect.NoneType)]
        if _is_null(node) and len(types) < len(info.types):
            return None
        fitting = [one for one in types if _form(one) in (_form_of(node), "any")]
        structs = [one for one in fitting if isinstance(one, inspect.StructType)]
        if len(structs) > 1 and isinstance(node, MappingNode):
            return self._told_apart(node, structs, place)
        if not fitting:
            forms = dict.fromkeys(_FORM_NAMES[form] for one in types if (form := _form(one)) in _FORM_NAMES)
            return self.fault(node, f"{_name(place)} must be {' or '.join(forms)}, not {_looks(node)}")
        return self._value(node, fitting[0], place)

    def _told_apart(self, node: MappingNode, structs: list[inspect.StructType], place: Place) -> Any:
        """Structs of a union are told apart by the one key that each must have."""
        marks = {field.encode_name: one for one in structs for field in one.fields if field.required}
        given = [key for key, _ in node.value if key.value in marks]
        where = self.places.keys.get(place, node)
        if not given:
            return self.fault(where, f"{_name(place)} needs one of {_ticked(marks)}")
        if len(given) > 1:
            return self.fault(given[1], f"{_name(place)} has `{given[0].value}` already", "keep one of the two")
        return self._struct(node, marks[given[0].value], place)

    # Single values

    def _kind(self, node: Node, info: inspect.Metadata, place: Place) -> Any:
        about = info.extra or {}
        read = about.get("read")
        converted = self._read(node, read, place) if read else self._value(node, info.type, place)
        if converted is INVALID:
            return INVALID
        if about.get("kind") == "file":
            folder = Path(node.start_mark.name).parent if self._files_in is None else self._files_in
            converted = str((folder / converted).resolve())
        if "kind" in about and isinstance(converted, str):
            self.mentions.append(Mention(about["kind"], converted, place, node))
        return converted

    def _read(self, node: Node, read: Callable[[str], Any], place: Place) -> Any:
        if not isinstance(node, ScalarNode) or _is_null(node):
            return self._wrong(node, "scalar", place)
        try:
            return read(node.value)
        except ValueError as error:
            return self.fault(node, f"{_name(place)} wants {error}, not `{node.value}`")

    def _scalar(self, node: Node, info: Any, place: Place) -> Any:
        if not isinstance(node, ScalarNode) or _is_null(node):
            return self._wrong(node, "scalar", place)
        return self._scalars[type(info)](node, info, place)

    def _text(self, node: ScalarNode, info: inspect.StrType, place: Place) -> Any:
        return node.value

    def _number(self, node: ScalarNode, info: inspect.IntType | inspect.FloatType, place: Place) -> Any:
        whole = isinstance(info, inspect.IntType)
        try:
            number: float = int(node.value) if whole else float(node.value)
        except ValueError:
            return self.fault(node, f"{_name(place)} wants a {'whole ' * whole}number, not `{node.value}`")
        low, high = info.ge, info.le
        if not (float("-inf") if low is None else low) <= number <= (1e9 if high is None else high):
            return self.fault(node, f"{_name(place)} must be {_span(low, high)}, not {node.value}")
        return number

    def _truth(self, node: ScalarNode, info: inspect.BoolType, place: Place) -> Any:
        truth = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
        if node.value.lower() not in truth:
            return self.fault(node, f"{_name(place)} wants yes or no, not `{node.value}`")
        return truth[node.value.lower()]

    def _one_of(self, node: ScalarNode, info: inspect.LiteralType, place: Place) -> Any:
        if node.value not in info.values:
            known = [str(value) for value in info.values]
            return self.fault(node, f"{_name(place)} cannot be `{node.value}`", did_you_mean(node.value, known))
        return node.value

    # Steps

    def _step(self, node: Node, place: Place) -> Any:
        if isinstance(node, ScalarNode) and not _is_null(node):
            return self._action(node, None, place)
        if not isinstance(node, MappingNode) or not node.value:
            return self.fault(node, "a step must be an action", "as in `- answer` or `- say: Hello`")
        (name, options), *others = node.value
        if others:
            (second, _) = others[0]
            message = f"`{second.value}` is a second action in one step"
            return self.fault(second, message, "put it on a line with its own `-`")
        return self._action(name, options, place)

    def _action(self, name: ScalarNode, options: Node | None, place: Place) -> Any:
        action = actions.find(name.value)
        if action is None:
            return self.fault(name, f"no action `{name.value}`", did_you_mean(name.value, actions.names()))
        inside = (*place, name.value)
        self.places.keys[inside] = name
        self.places.nodes[inside] = options or name
        position = self._position(place, name.value)
        self._parents.append((inside, position))
        try:
            converted = self._options(action, name, options, inside)
        finally:
            self._parents.pop()
        if converted is INVALID:
            return INVALID
        step = Step(position, name.value, converted)
        self.steps.append((inside, step))
        return step

    def _position(self, place: Place, action: str) -> str:
        parent, prefix = self._parents[-1] if self._parents else (place[:3], str(place[1]))
        branch = ".".join(str(part) for part in place[len(parent) : -1])
        return f"{prefix}/{branch}{'/' if branch else ''}{place[-1]}:{action}"

    def _options(self, action: actions.Action, name: ScalarNode, options: Node | None, place: Place) -> Any:
        info = inspect.type_info(action.Options)
        assert isinstance(info, inspect.StructType)
        if options is None or _is_null(options):
            options = MappingNode("tag:yaml.org,2002:map", [], name.start_mark, name.end_mark)
        shorthand = next((field for field in info.fields if field.name == action.shorthand), None)
        whole = shorthand is not None and _form(shorthand.type) == "mapping"
        if isinstance(options, MappingNode) and (not whole or not options.value):
            return self._struct(options, info, place)
        if shorthand is None:
            return self.fault(options, f"`{name.value}` takes options, not {_looks(options)}", _option_names(info))
        value = self._value(options, shorthand.type, (*place, shorthand.encode_name))
        if value is INVALID:
            return INVALID
        return self._shorthand(info, shorthand.name, value, name)

    def _shorthand(self, info: inspect.StructType, field: str, value: Any, name: ScalarNode) -> Any:
        missing = [one.encode_name for one in info.fields if one.required and one.name != field]
        if missing:
            return self.fault(name, f"`{name.value}` needs `{missing[0]}`", f"write {_ticked(missing)} below it")
        return info.cls(**{field: value})


def _form(info: Any) -> Form:
    if isinstance(info, inspect.Metadata):
        return _form(info.type)
    if isinstance(info, inspect.UnionType):
        return "mapping" if any(_form(one) == "mapping" for one in info.types) else "scalar"
    if isinstance(info, inspect.AnyType):
        return "any"
    if isinstance(info, inspect.StructType) and info.cls is Step:
        return "any"
    if isinstance(info, inspect.StructType | inspect.DictType):
        return "mapping"
    return "sequence" if isinstance(info, inspect.VarTupleType | inspect.ListType) else "scalar"


def _form_of(node: Node) -> Form:
    if isinstance(node, MappingNode):
        return "mapping"
    return "sequence" if isinstance(node, SequenceNode) else "scalar"


def _is_null(node: Node) -> bool:
    return isinstance(node, ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _looks(node: Node) -> str:
    if _is_null(node):
        return "empty"
    if isinstance(node, ScalarNode):
        return f"`{node.value}`"
    return "a list" if isinstance(node, SequenceNode) else "`key: value` lines"


def _name(place: Place) -> str:
    """How a fault calls the value: by its key, or by the list it stands in."""
    if not place:
        return "the dialplan"
    if isinstance(place[-1], str):
        return f"`{place[-1]}`"
    lists = [part for part in place if isinstance(part, str)]
    return f"entry {place[-1] + 1} of `{lists[-1]}`"


def _ticked(names: Collection[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _option_names(info: inspect.StructType) -> str:
    return f"it knows {_ticked([field.encode_name for field in info.fields])}" if info.fields else "it has none"


def _span(low: float | None, high: float | None) -> str:
    if low is None:
        return f"at most {high}"
    return f"at least {low}" if high is None else f"from {low} to {high}"
