"""Writing into a COCO file as it is written already: compact or indented, and the rest to the letter."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from napari_unet_seg.data.layouts.coco_json import CocoText, Entry, members, parse


@dataclass(frozen=True, kw_only=True)
class Style:
    """How entries are written."""

    comma: str = ", "
    colon: str = ": "

    newline: str | None = None
    """Line end and indentation of an entry's closing brace; None if an entry stands on one line."""

    indent: str = ""
    """How much further its keys are indented."""

    tall: bool = False
    """Whether lists have a line for each element."""

    @classmethod
    def of(cls, coco: CocoText) -> Style:
        """The style of a file, by its first entry."""
        entry = next((entries[0] for entries in (coco.annotations, coco.images) if entries), None)
        if entry is None:
            return cls()
        text = entry.text
        colon = ": " if re.search(r'"\s*: ', text) else ":"
        closing = re.search(r"(\r?\n[ \t]*)\}$", text)
        if closing is None:
            return cls(comma=", " if re.search(r', "', text) else ",", colon=colon)
        newline = closing[1]
        opening = re.match(r"\{\r?\n([ \t]*)", text)
        indent = opening[1][len(newline.strip("\r\n")) :] if opening else "  "
        return cls(comma=", ", colon=colon, newline=newline, indent=indent, tall=bool(re.search(r"\[\r?\n", text)))

    def dumps(self, value: Mapping[str, Any]) -> str:
        """An entry as text."""
        if self.newline is None:
            return json.dumps(value, separators=(self.comma, self.colon))
        if self.tall:
            text = json.dumps(value, indent=self.indent, separators=(",", self.colon))
            return text.replace("\n", self.newline)
        lines = [
            f"{json.dumps(key)}{self.colon}{json.dumps(one, separators=(self.comma, self.colon))}"
            for key, one in value.items()
        ]
        return "{" + ",".join(f"{self.newline}{self.indent}{line}" for line in lines) + self.newline + "}"

    def with_flag(self, entry: Entry, key: str, flag: bool | None) -> Entry:
        """An entry with a key set to true or false, or without it; the rest of its text stays."""
        text = entry.text
        found = members(text)
        place = next((index for index, each in enumerate(found) if each.key == key), None)
        value = {name: one for name, one in entry.value.items() if name != key}
        if place is not None:
            one = found[place]
            if flag is not None:
                return Entry(entry.value | {key: flag}, text[: one.value] + json.dumps(flag) + text[one.end :])
            if place:
                return Entry(value, text[: found[place - 1].end] + text[one.end :])
            end = found[1].start if len(found) > 1 else one.end
            return Entry(value, text[: one.start] + text[end:])
        if flag is None:
            return entry
        gap = self.comma if self.newline is None else f",{self.newline}{self.indent}"
        end = found[-1].end
        new = f"{gap}{json.dumps(key)}{self.colon}{json.dumps(flag)}"
        return Entry(entry.value | {key: flag}, text[:end] + new + text[end:])

    def written(self, former: CocoText, lists: Mapping[str, Sequence[Entry]], *, model: CocoText | None) -> CocoText:
        """A file with other entries in its lists.

        Parameters
        ----------
        former : CocoText
            The file; what stands outside of the lists, and between entries that stay neighbours, is taken from it.
        lists : mapping
            The entries of each list.
        model : CocoText, optional
            A list of the same entries as here is written as there.
        """
        pieces: list[tuple[int, int, str]] = []
        for key, entries in lists.items():
            here = former.lists[key]
            if here.start < len(former.text):
                pieces.append((here.start, here.end, self._list(former, key, entries, model)))
            elif entries:
                body = self.comma.join(entry.text for entry in entries)
                gap = "," if self.newline is None else ", "
                pieces.append((former.end, former.end, f'{gap}"{key}"{self.colon}[{body}]'))
        text = former.text
        for start, end, new in sorted(pieces, reverse=True):
            text = text[:start] + new + text[end:]
        return parse(text, former.path, bom=former.bom)

    def _list(self, former: CocoText, key: str, entries: Sequence[Entry], model: CocoText | None) -> str:
        for coco in (former, model):
            there = coco.lists[key] if coco is not None else None
            if (
                coco is not None
                and there is not None
                and _same(there.entries, entries)
                and there.start < len(coco.text)
            ):
                return coco.text[there.start : there.end]
        if not entries:
            return "[]"
        here = former.lists[key]
        # An empty list does not say how it would be written: another one does.
        gaps = (here if here.entries else former.lists["images"]).gaps
        between = gaps[1] if len(gaps) > 2 else "," + (gaps[0] or self.comma[1:])
        neighbours = {
            id(one): (id(other), gap) for (one, other), gap in zip(pairwise(here.entries), gaps[1:], strict=False)
        }
        pieces = ["[", gaps[0], entries[0].text]
        for one, other in pairwise(entries):
            neighbour, gap = neighbours.get(id(one), (0, ""))
            pieces += [gap if neighbour == id(other) else between, other.text]
        return "".join([*pieces, gaps[-1], "]"])


def _same(one: Sequence[Entry], other: Sequence[Entry]) -> bool:
    return len(one) == len(other) and all(a.text == b.text for a, b in zip(one, other, strict=True))
