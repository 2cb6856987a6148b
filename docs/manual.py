"""Writes the manual pages, man(7), from the same Markdown that the reference pages are made of.

markdown-it-py reads the Markdown; what stands here says what each part of it is in roff. A list item that begins
with code and a colon is an option or a setting with what it means.
"""

import re
from collections.abc import Iterator, Sequence

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
    return "\n".join(_blocks(tokens)) + "\n"


def _blocks(tokens: Sequence[Token]) -> Iterator[str]:
    """Give the lines of the page, block by block."""
    at, depth, fresh = 0, 0, True
    while at < len(tokens):
        token = tokens[at]
        if token.type == "heading_open":
            macro = "SH" if token.tag in ("h1", "h2") else "SS"
            words = _inline(tokens[at + 1])
            yield f".{macro} {words.upper() if macro == 'SH' else words}".rstrip()
            at, fresh = at + 2, True
        elif token.type in ("bullet_list_open", "ordered_list_open"):
            depth += 1
            if depth > 1:
                yield ".RS 4"
        elif token.type in ("bullet_list_close", "ordered_list_close"):
            depth -= 1
            if depth:
                yield ".RE"
            fresh = False
        elif token.type == "list_item_open":
            yield from _item(tokens[at + 2], token.info)
            at, fresh = at + 2, False
        elif token.type == "inline":
            if not fresh:
                yield ".IP" if depth else ".PP"
            yield from _lines(_inline(token))
            fresh = False
        elif token.type in ("fence", "code_block"):
            if not fresh:
                yield ".sp" if depth else ".PP"
            yield from _verbatim(token.content)
            fresh = False
        elif token.type == "table_open":
            end = next(n for n in range(at, len(tokens)) if tokens[n].type == "table_close")
            if not fresh:
                yield ".PP"
            yield from _table(tokens[at:end])
            at, fresh = end, False
        at += 1


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
