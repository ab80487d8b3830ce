"""On which line of a TOML file each key, table and array element stands.

tomllib gives values without places, so this walks the same text a second time. It is only asked about
text that tomllib has accepted; on anything else its answer means nothing, but it ends.

Deliberately not here: values, validity.
"""

from __future__ import annotations

import re

from config.problems import Path

_SPACE = " \t"
_BLANK = " \t\r\n"
# Most of a long file is short strings: thousands of prefixes, one after the other.
_STRINGS = {'"': re.compile(r'"(?:[^"\\\n]|\\.)*"'), "'": re.compile(r"'[^'\n]*'")}
_BARE_END = ",]}\r\n#"


class _Walk:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.line = 1
        self.lines: dict[Path, int] = {}
        self.counts: dict[Path, int] = {}

    # characters

    def peek(self, n: int = 1) -> str:
        return self.text[self.at : self.at + n]

    def skip(self, n: int = 1) -> None:
        self.line += self.text.count("\n", self.at, self.at + n)
        self.at += n

    def skip_any(self, letters: str) -> None:
        while self.at < len(self.text) and self.text[self.at] in letters:
            self.skip()

    def skip_blank(self) -> None:
        """White space, line ends and comments."""
        self.skip_any(_BLANK)
        while self.peek() == "#":
            self.skip_line()
            self.skip_any(_BLANK)

    def skip_line(self) -> None:
        end = self.text.find("\n", self.at)
        self.skip((len(self.text) if end < 0 else end + 1) - self.at)

    # grammar

    def document(self) -> None:
        table: Path = ()
        while True:
            self.skip_blank()
            if self.at >= len(self.text):
                return
            line = self.line
            if self.peek() == "[":
                table = self.header(line)
            else:
                self.pair(table)
            self.skip_line()

    def header(self, line: int) -> Path:
        many = self.peek(2) == "[["
        self.skip(2 if many else 1)
        path = self.resolved(self.dotted(), many)
        self.lines.setdefault(path, line)
        return path

    def resolved(self, names: list[str], many: bool) -> Path:
        """A header's names with the index of the array element that each array stands for now."""
        path: Path = ()
        for depth, name in enumerate(names):
            path = (*path, name)
            last = depth == len(names) - 1
            if last and many:
                index = self.counts.get(path, -1) + 1
                self.counts[path] = index
                self.lines.setdefault(path, self.line)
                path = (*path, index)
            elif path in self.counts:
                path = (*path, self.counts[path])
        return path

    def dotted(self) -> list[str]:
        names: list[str] = []
        while self.at < len(self.text):
            self.skip_any(_SPACE)
            names.append(self.name())
            self.skip_any(_SPACE)
            if self.peek() != ".":
                break
            self.skip()
        return names

    def name(self) -> str:
        if self.peek() in ('"', "'"):
            begin = self.at
            self.string()
            return self.text[begin + 1 : self.at - 1]
        begin = self.at
        while self.at < len(self.text) and (self.text[self.at].isalnum() or self.text[self.at] in "_-"):
            self.skip()
        if self.at == begin:
            self.skip()
        return self.text[begin : self.at]

    def pair(self, table: Path) -> None:
        line = self.line
        path = table
        for name in self.dotted():
            path = (*path, name)
            self.lines.setdefault(path, line)
        self.skip_any(_SPACE)
        if self.peek() == "=":
            self.skip()
        self.skip_any(_SPACE)
        self.value(path)

    def value(self, path: Path) -> None:
        first = self.peek()
        if first in ('"', "'"):
            self.string()
        elif first == "[":
            self.array(path)
        elif first == "{":
            self.inline(path)
        else:
            while self.at < len(self.text) and self.text[self.at] not in _BARE_END:
                self.skip()

    def string(self) -> None:
        quote = self.peek()
        if self.peek(3) == quote * 3:
            self.long_string(quote)
            return
        whole = _STRINGS[quote].match(self.text, self.at)
        if whole is not None:
            self.at = whole.end()
            return
        self.skip()
        while self.at < len(self.text) and self.peek() not in (quote, "\n"):
            self.skip(2 if self.peek() == "\\" and quote == '"' else 1)
        self.skip()

    def long_string(self, quote: str) -> None:
        self.skip(3)
        while self.at < len(self.text) and self.peek(3) != quote * 3:
            self.skip(2 if self.peek() == "\\" and quote == '"' else 1)
        self.skip(3)
        while self.peek() == quote:  # up to two quotes may belong to the string itself
            self.skip()

    def array(self, path: Path) -> None:
        self.skip()
        index = 0
        while True:
            self.skip_blank()
            if self.at >= len(self.text) or self.peek() == "]":
                break
            before = self.at
            self.lines.setdefault((*path, index), self.line)
            self.value((*path, index))
            self.skip_blank()
            if self.peek() == ",":
                self.skip()
            if self.at == before:
                self.skip()
            index += 1
        self.skip()

    def inline(self, path: Path) -> None:
        self.skip()
        while True:
            self.skip_blank()
            if self.at >= len(self.text) or self.peek() == "}":
                break
            before = self.at
            self.pair(path)
            self.skip_blank()
            if self.peek() == ",":
                self.skip()
            if self.at == before:
                self.skip()
        self.skip()


def lines_of(text: str) -> dict[Path, int]:
    """Path → line, from 1, for everything that is written."""
    walk = _Walk(text)
    walk.document()
    return walk.lines
