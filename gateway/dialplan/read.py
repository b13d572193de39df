"""YAML files into one tree of nodes that know their file, line and column.

Anchors, aliases and merge keys (`<<`) work; tags that build objects do not exist here. A folder is the sum of its
`*.yaml` and `*.yml` files in the order of their names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from gateway.dialplan.model import Fault
from gateway.dialplan.places import fault_at

_MERGE = "tag:yaml.org,2002:merge"
_PLAIN_TAGS = frozenset(
    f"tag:yaml.org,2002:{name}"
    for name in ("str", "int", "float", "bool", "null", "timestamp", "value", "merge", "seq", "map")
)
_MAX_NODES = 200_000
"""Of one tree with its aliases unfolded: more is a mistake or an attack ("billion laughs")."""
SECTIONS = ("routes", "flows", "prompts")
"""What the files of a folder add to; everything else stands in one of them."""

Pair = tuple[ScalarNode, Node]


def read(path: Path) -> tuple[MappingNode | None, list[Fault]]:
    """The merged root of a file or folder, and everything that is wrong with it as YAML."""
    faults: list[Fault] = []
    try:
        files = _files(path)
    except OSError as error:
        return None, [_unreadable(path, error)]
    if not files:
        return None, [Fault(str(path), 1, 1, "the folder holds no dialplan", "add a file that ends in .yaml")]
    roots = [root for file in files if (root := _read_file(file, faults)) is not None]
    return (_add_up(roots, faults) if roots else None), faults


def _files(path: Path) -> list[Path]:
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if file.suffix in (".yaml", ".yml") and file.is_file())


def _unreadable(path: Path, error: OSError | UnicodeDecodeError) -> Fault:
    why = error.strerror if isinstance(error, OSError) and error.strerror else "it is not UTF-8 text"
    return Fault(str(path), 1, 1, f"cannot be read: {why}")


def _read_file(path: Path, faults: list[Fault]) -> MappingNode | None:
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        faults.append(_unreadable(path, error))
        return None
    try:
        root = _compose(text, str(path))
    except yaml.MarkedYAMLError as error:
        faults.append(_syntax_fault(path, error))
        return None
    except (yaml.YAMLError, RecursionError) as error:
        message = "nested too deeply" if isinstance(error, RecursionError) else str(error).splitlines()[0]
        faults.append(Fault(str(path), 1, 1, f"not valid YAML: {message}"))
        return None
    if not isinstance(root, MappingNode):
        line, column = (root.start_mark.line + 1, root.start_mark.column + 1) if root is not None else (1, 1)
        faults.append(Fault(str(path), line, column, "no dialplan", "begin with a section such as `routes:`"))
        return None
    if (trouble := _Unfolding().trouble(root)) is not None:
        faults.append(trouble)
        return None
    return _flatten(root, faults, {})


def _compose(text: str, name: str) -> Node | None:
    loader = yaml.SafeLoader(text)
    loader.name = name
    try:
        return loader.get_single_node()
    finally:
        loader.dispose()


def _syntax_fault(path: Path, error: yaml.MarkedYAMLError) -> Fault:
    mark = error.problem_mark or error.context_mark
    what = " ".join(part for part in (error.context, error.problem) if part) or "not valid YAML"
    line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
    return Fault(str(path), line, column, f"not valid YAML: {what}", _syntax_remedy(what))


def _syntax_remedy(what: str) -> str:
    if "alias" in what:
        return 'put a star key or pattern in quotes, as in "*72"'
    if "'\\t'" in what:
        return "indent with spaces"
    if what.endswith("got '?'"):
        return "put a text that ends with a question mark in quotes here"
    if "mapping values are not allowed" in what:
        return "put a text that holds a colon in quotes"
    return ""


class _Unfolding:
    """Looks for what aliases can do wrong: a node inside itself, or a tree of astronomical size."""

    def __init__(self) -> None:
        self._sizes: dict[int, int] = {}
        self._open: set[int] = set()

    def trouble(self, root: Node) -> Fault | None:
        try:
            size = self._size(root)
        except _InsideItself as found:
            return fault_at(found.node, "an alias refers to what it stands in")
        if size > _MAX_NODES:
            return fault_at(root, f"its aliases unfold to {size} values", f"at most {_MAX_NODES} are read")
        return None

    def _size(self, node: Node) -> int:
        key = id(node)
        if key in self._open:
            raise _InsideItself(node)
        if key not in self._sizes:
            self._open.add(key)
            self._sizes[key] = 1 + sum(self._size(child) for child in _children(node))
            self._open.discard(key)
        return self._sizes[key]


class _InsideItself(Exception):
    def __init__(self, node: Node) -> None:
        self.node = node


def _children(node: Node) -> Iterator[Node]:
    if isinstance(node, SequenceNode):
        yield from node.value
    elif isinstance(node, MappingNode):
        for key, value in node.value:
            yield key
            yield value


def _flatten(node: MappingNode, faults: list[Fault], done: dict[int, Node]) -> MappingNode:
    """The same tree with merge keys resolved, keys that are scalars and differ, and known tags only."""
    flat = _flatten_any(node, faults, done)
    assert isinstance(flat, MappingNode)
    return flat


def _flatten_any(node: Node, faults: list[Fault], done: dict[int, Node]) -> Node:
    if id(node) in done:
        return done[id(node)]
    if node.tag not in _PLAIN_TAGS:
        faults.append(fault_at(node, f"tags such as {node.tag} have no meaning here", "leave the tag out"))
    flat = node
    if isinstance(node, SequenceNode):
        items = [_flatten_any(child, faults, done) for child in node.value]
        flat = SequenceNode(node.tag, items, node.start_mark, node.end_mark)
    elif isinstance(node, MappingNode):
        flat = MappingNode(node.tag, _pairs(node, faults, done), node.start_mark, node.end_mark)
    done[id(node)] = flat
    return flat


def _pairs(node: MappingNode, faults: list[Fault], done: dict[int, Node]) -> list[Pair]:
    own: dict[str, Pair] = {}
    merged: dict[str, Pair] = {}
    for key, value in node.value:
        flat = _flatten_any(value, faults, done)
        if key.tag == _MERGE:
            for name, pair in _merged(flat, faults):
                merged.setdefault(name, pair)
        elif not isinstance(key, ScalarNode):
            faults.append(fault_at(key, "a key must be a word or a number"))
        elif key.value in own:
            first = own[key.value][0].start_mark
            faults.append(fault_at(key, f"`{key.value}` is there twice", f"the first is in line {first.line + 1}"))
        else:
            own[key.value] = (key, flat)
    return [*(pair for name, pair in merged.items() if name not in own), *own.values()]


def _merged(value: Node, faults: list[Fault]) -> Iterable[tuple[str, Pair]]:
    sources = value.value if isinstance(value, SequenceNode) else [value]
    for source in sources:
        if isinstance(source, MappingNode):
            yield from ((pair[0].value, pair) for pair in source.value)
        else:
            faults.append(fault_at(source, "`<<` merges mappings only"))


def _add_up(roots: list[MappingNode], faults: list[Fault]) -> MappingNode:
    """One root of many: the sections of all files together, a name in two files being a fault."""
    total: dict[str, Pair] = {}
    for key, value in (pair for root in roots for pair in root.value):
        before = total.get(key.value)
        if before is None:
            total[key.value] = (key, value)
        elif key.value in SECTIONS and isinstance(before[1], MappingNode) and isinstance(value, MappingNode):
            total[key.value] = (before[0], _join(before[1], value, faults))
        else:
            faults.append(_there_already(key, before[0]))
    return MappingNode(roots[0].tag, list(total.values()), roots[0].start_mark, roots[0].end_mark)


def _join(first: MappingNode, second: MappingNode, faults: list[Fault]) -> MappingNode:
    known = {key.value: key for key, _ in first.value}
    fresh = [pair for pair in second.value if pair[0].value not in known]
    faults.extend(_there_already(key, known[key.value]) for key, _ in second.value if key.value in known)
    return MappingNode(first.tag, [*first.value, *fresh], first.start_mark, first.end_mark)


def _there_already(key: Node, before: Node) -> Fault:
    mark = before.start_mark
    return fault_at(key, f"`{key.value}` is there already", f"the first is at {mark.name}:{mark.line + 1}")
