"""Changes of a YAML text at the places of its values. All else stays as it is, byte for byte."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import yaml

from hdm_pipeline.errors import ConfigError

_ALIAS = "alias"
"""Tag of the nodes that stand for an alias. A composed alias would be the node of its anchor, at the anchor's place."""

_TO_BE_DRAWN = "# label some scenes"
"""How the comment of `init`'s drafts begins beside ``examples: []``: it goes once there are some."""


class UnusualYamlError(ConfigError):
    """A YAML text is written in a way that it cannot be changed in place."""


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = self.get_event()  # type: ignore[no-untyped-call]
            return yaml.ScalarNode(_ALIAS, event.anchor, event.start_mark, event.end_mark)
        return super().compose_node(parent, index)


class YamlText:
    """A YAML text, its nodes, and changes of them; `result` makes all changes at once.

    Args:
        text: a mapping of keys to values, without a byte order mark.
        flow_items: mappings that are added to a list in block style are written as ``{...}``, in one line.

    Attributes:
        root: the whole text.

    Raises:
        UnusualYamlError: not one mapping.
    """

    def __init__(self, text: str, *, flow_items: bool = False) -> None:
        self._newline = "\r\n" if "\r\n" in text else "\n"
        self._text = text if text.endswith("\n") else text + self._newline
        self._flow_items = flow_items
        self._edits: list[tuple[int, int, str]] = []
        try:
            root = yaml.compose(self._text, Loader=_Loader)
        except yaml.YAMLError as error:
            raise UnusualYamlError("not one YAML text", remedy="correct its syntax") from error
        if not isinstance(root, yaml.MappingNode):
            raise UnusualYamlError("the file is not a mapping of keys to values", remedy="write it as `key: value`")
        self.root: yaml.MappingNode = root

    def result(self) -> str:
        """The text with all changes."""
        pieces, at = [], 0
        for start, end, text in sorted(self._edits, key=lambda edit: edit[0]):
            pieces += [self._text[at:start], text]
            at = end
        return "".join([*pieces, self._text[at:]])

    def put(self, mapping: yaml.MappingNode, key: str, value: Any) -> None:
        """Give a key that a mapping lacks, or that holds nothing (null, ``[]`` or ``{}``), a value."""
        found = child(mapping, key)
        if found is None:
            self._add_key(mapping, key, value)
            return
        start, end = found.start_mark.index, found.end_mark.index
        name = next(name for name, _ in mapping.value if name.value == key)
        if isinstance(found, yaml.SequenceNode) and self._stands_alone(mapping, name, found):
            rest = self._text[end : self._line_end(start)]
            stop = end + len(rest.rstrip()) if rest.strip().startswith(_TO_BE_DRAWN) else end
            self._edits.append((self._text.index(":", name.end_mark.index) + 1, stop, ""))
        elif start < end or mapping.flow_style:
            self._edits.append((start, end, ("" if start < end else " ") + flow(value)))
            return
        lines = self._block(value, name.start_mark.column + 2)
        self._edits.append((self._line_end(start), self._line_end(start), self._joined(lines)))

    def _stands_alone(self, mapping: yaml.MappingNode, name: yaml.Node, value: yaml.Node) -> bool:
        """Whether ``key: []`` fills a line, but for a comment, so that lines of items can follow it."""
        start, end = value.start_mark.index, value.end_mark.index
        before, rest = self._text[name.end_mark.index : start], self._text[end : self._line_end(end)].strip()
        one_line = before.strip() == ":" and "\n" not in self._text[name.start_mark.index : end]
        return not mapping.flow_style and start < end and one_line and (not rest or rest.startswith("#"))

    def _add_key(self, mapping: yaml.MappingNode, key: str, value: Any) -> None:
        if mapping.flow_style:
            start, end = mapping.start_mark.index, mapping.end_mark.index
            if mapping.value:
                end = self._content_end(mapping.value[-1][1])
                self._edits.append((end, end, ", " + flow({key: value})[1:-1]))
            else:
                start = self._text.rindex("{", start, end)  # behind an anchor
                self._edits.append((start, end, flow({key: value})))
            return
        at = self._line_end(self._content_end(mapping))
        self._edits.append((at, at, self._joined(self._block({key: value}, mapping.value[0][0].start_mark.column))))

    def append(self, sequence: yaml.SequenceNode, values: Sequence[Mapping[str, Any]]) -> None:
        """Add mappings behind the last item of a list that has one."""
        if not values:
            return
        last = sequence.value[-1]
        end = self._content_end(last)
        if sequence.flow_style:
            start = last.start_mark.index
            before = self._text[self._line_start(start) : start]
            gap = f",{self._newline}{before}" if not before.strip() else ", "
            self._edits.append((end, end, "".join(gap + flow(value) for value in values)))
            return
        lines = list(self._block(list(values), self._dash(last) - self._line_start(last.start_mark.index)))
        self._edits.append((self._line_end(end), self._line_end(end), self._joined(lines)))

    def replace(self, sequence: yaml.SequenceNode, index: int, value: Mapping[str, Any]) -> None:
        """Put a mapping in the place of an item."""
        item = sequence.value[index]
        if sequence.flow_style or (isinstance(item, yaml.MappingNode) and item.flow_style):
            self._edits.append((item.start_mark.index, self._content_end(item), flow(value)))
            return
        dash = self._dash(item)
        start = self._line_start(dash)
        lines = self._block([value], dash - start)
        self._edits.append((start, self._line_end(self._content_end(item)), self._joined(lines)))

    def remove(self, sequence: yaml.SequenceNode, indices: Iterable[int]) -> None:
        """Take items out; one must remain."""
        gone, items = sorted(indices), sequence.value
        for index in gone:
            item = items[index]
            if not sequence.flow_style:
                start = self._line_start(self._dash(item))
                self._edits.append((start, self._line_end(self._content_end(item)), ""))
            elif set(range(index, len(items))) <= set(gone):
                # The last ones, each with the comma before it.
                self._edits.append((self._content_end(items[index - 1]), self._content_end(item), ""))
            else:
                self._edits.append((item.start_mark.index, items[index + 1].start_mark.index, ""))

    def _block(self, value: Any, column: int) -> Iterator[str]:
        """Lines of a list of mappings, or of a mapping, in block style."""
        indent = " " * column
        if isinstance(value, list):
            for item in value:
                if self._flow_items and not any(_nested(part) for part in item.values()):
                    yield f"{indent}- {flow(item)}"
                else:
                    first, *rest = self._block(item, column + 2)
                    yield f"{indent}- {first.lstrip()}"
                    yield from rest
            return
        for key, part in value.items():
            if _nested(part):
                yield f"{indent}{flow({key: None})[1:-1].removesuffix(' null')}"
                yield from self._block(part, column + 2)
            else:
                yield indent + flow({key: part})[1:-1]

    def _joined(self, lines: Iterable[str]) -> str:
        return "".join(line + self._newline for line in lines)

    def _line_start(self, index: int) -> int:
        return self._text.rfind("\n", 0, index) + 1

    def _line_end(self, index: int) -> int:
        """Index of the line below."""
        return self._text.index("\n", index) + 1

    def _dash(self, item: yaml.Node) -> int:
        """Index of the dash of an item of a list in block style."""
        start = self._line_start(item.start_mark.index)
        before = self._text[start : item.start_mark.index]
        if not before.lstrip(" ").startswith("-") or before.count("-") > 1:
            line = item.start_mark.line + 1
            what = f"the item of a list in line {line} does not begin a line of its own"
            raise UnusualYamlError(what, remedy="write each item of the list in a line of its own")
        return start + before.index("-")

    def _content_end(self, node: yaml.Node) -> int:
        """Index behind the last character of a node; a block ends for the parser only where the next thing begins."""
        if not isinstance(node, yaml.CollectionNode) or node.flow_style:
            text = self._text[node.start_mark.index : node.end_mark.index]
            return int(node.start_mark.index) + len(text.rstrip())
        last = node.value[-1]
        return self._content_end(last[1] if isinstance(last, tuple) else last)


def child(mapping: yaml.MappingNode, key: str) -> yaml.Node | None:
    """The value of a key; None without it."""
    return next((value for name, value in mapping.value if name.value == key), None)


def flow(value: Any) -> str:
    """A collection in one line, as YAML."""
    return yaml.safe_dump(value, default_flow_style=True, width=math.inf, allow_unicode=True, sort_keys=False).strip()


def _nested(value: Any) -> bool:
    """Whether a value is written below its key: a mapping, or a list of mappings."""
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict) for item in value))
