"""Writes the manual pages, man(7), from the same Markdown that the reference pages are made of.

markdown-it-py reads the Markdown; what stands here says what each part of it is in roff. A list item that begins
with code and a colon is an option or a setting with what it means.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import ClassVar

from markdown_it import MarkdownIt
from markdown_it.token import Token

DATE = "2026-11-21"  # of the last change that a reader should notice
FONTS = {"code_inline": r"\fB", "strong_open": r"\fB", "em_open": r"\fI"}
PLAIN = r"\fR"
HEAD = '\'\\" t\n.\\" Written by docs/generate.py. Do not edit.\n'


def manual(name: str, section: int, does: str, version: str, text: str) -> str:
    """Return a manual page: its name, what it is about, and Markdown whose headings are its sections."""
    title = f'.TH {name.upper()} {section} {DATE} "taskrunner {version}" "taskrunner"'
    opening = f".SH NAME\n{_escaped(name)} \\- {_escaped(does)}\n"
    # What is not wide enough for a table runs over the edge of the page all the same.
    return f"{HEAD}{title}\n.nh\n.ad l\n{opening}{roff(text)}"


def roff(text: str) -> str:
    """Return Markdown as roff."""
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    return "\n".join(Page(tokens).lines()) + "\n"


class Page:
    """A page on its way to roff: where we are in its tokens, how deep in lists, and whether a macro has just begun."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self.tokens, self.at, self.depth, self.fresh = tokens, 0, 0, True

    def lines(self) -> Iterator[str]:
        """Give the lines of the page, block by block."""
        while self.at < len(self.tokens):
            token = self.tokens[self.at]
            write = self.WRITERS.get(token.type)
            if write is not None:
                yield from write(self, token)
            self.at += 1

    def _apart(self, macro: str) -> Iterator[str]:
        """Give what keeps a block from the one before it."""
        if not self.fresh:
            yield macro if self.depth else ".PP"
        self.fresh = False

    def _heading(self, token: Token) -> Iterator[str]:
        words = _inline(self.tokens[self.at + 1])
        high = token.tag in ("h1", "h2")
        yield f".SH {words.upper()}" if high else f".SS {words}"
        self.at, self.fresh = self.at + 2, True

    def _list(self, _: Token) -> Iterator[str]:
        self.depth += 1
        if self.depth > 1:
            yield ".RS 4"

    def _end_of_list(self, _: Token) -> Iterator[str]:
        self.depth -= 1
        if self.depth:
            yield ".RE"
        self.fresh = False

    def _point(self, token: Token) -> Iterator[str]:
        yield from _item(self.tokens[self.at + 2], token.info)
        self.at, self.fresh = self.at + 2, False

    def _paragraph(self, token: Token) -> Iterator[str]:
        yield from self._apart(".IP")
        yield from _lines(_inline(token))

    def _fence(self, token: Token) -> Iterator[str]:
        yield from self._apart(".sp")
        yield from _verbatim(token.content)

    def _table(self, _: Token) -> Iterator[str]:
        yield from self._apart(".sp")
        types = [token.type for token in self.tokens]
        end = types.index("table_close", self.at)
        yield from _table(self.tokens[self.at : end])
        self.at = end

    WRITERS: ClassVar[dict[str, Callable[["Page", Token], Iterator[str]]]] = {
        "heading_open": _heading,
        "bullet_list_open": _list,
        "ordered_list_open": _list,
        "bullet_list_close": _end_of_list,
        "ordered_list_close": _end_of_list,
        "list_item_open": _point,
        "inline": _paragraph,
        "fence": _fence,
        "code_block": _fence,
        "table_open": _table,
    }


def _item(token: Token, number: str) -> Iterator[str]:
    """Give a list item: a term with what it means, or a point."""
    children = token.children or []
    term = children[0] if children and children[0].type == "code_inline" else None
    if term is not None and len(children) == 1:
        yield ".TP"
        yield from _lines(f"\\fB{_code(term.content)}{PLAIN}")
        yield "\\&"
        return
    if term is not None and children[1].content.startswith(": "):
        yield ".TP"
        yield from _lines(f"\\fB{_code(term.content)}{PLAIN}")
        yield from _lines(_spans(children)[len(_spans(children[:1])) + 2 :])
        return
    yield f".IP {number}. 4" if number else ".IP \\(bu 2"
    yield from _lines(_inline(token))


def _verbatim(text: str) -> Iterator[str]:
    yield from (".RS 4", ".nf")
    yield from (_guarded(_code(line)) for line in text.rstrip("\n").split("\n"))
    yield from (".fi", ".RE")


def _table(tokens: Sequence[Token]) -> Iterator[str]:
    """Give a table for tbl(1); its last column takes what is left of the line."""
    rows: list[list[str]] = []
    for token in tokens:
        if token.type == "tr_open":
            rows.append([])
        elif token.type == "inline":
            rows[-1].append(_inline(token))
    columns = len(rows[0])
    yield f".ne {min(20, 2 * len(rows))}v"  # a cell that does not fit on its page is a warning of tbl(1)
    yield from (".TS", f"{' '.join(['lB'] * columns)}", f"{'l ' * (columns - 1)}lx.")
    for row in rows:
        cells = [f"T{{\n{_guarded(cell)}\nT}}" if len(cell) > 24 else cell for cell in row]
        yield "\t".join(cells)
    yield ".TE"


def _inline(token: Token) -> str:
    return _spans(token.children or [])


def _spans(tokens: Sequence[Token]) -> str:
    """Return the text of a line with its fonts; of a link only what is to be read."""
    found = ""
    for token in tokens:
        if token.type == "text":
            found += _escaped(token.content)
        elif token.type == "code_inline":
            found += f"{FONTS['code_inline']}{_code(token.content)}{PLAIN}"
        elif token.type in FONTS:
            found += FONTS[token.type]
        elif token.type in ("strong_close", "em_close"):
            found += PLAIN
        elif token.type in ("softbreak", "hardbreak"):
            found += "\n"
    return found


def _lines(text: str) -> Iterator[str]:
    """Give a text in lines that begin with no sign of roff's, each sentence on its own."""
    for line in text.split("\n"):
        yield from (_guarded(part) for part in re.split(r"(?<=[a-z)][.:]) (?=[A-Z])", line))


def _guarded(line: str) -> str:
    return rf"\&{line}" if line[:1] in (".", "'") else line


def _escaped(text: str) -> str:
    return text.replace("\\", r"\e").replace("~", r"\(ti").replace("^", r"\(ha")


def _code(text: str) -> str:
    """Return what is to be typed: a - and a quote there are those of the keyboard."""
    escaped = _escaped(text).replace("-", r"\-").replace("`", r"\(ga")
    return escaped.replace("'", r"\(aq")
