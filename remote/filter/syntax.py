"""The filter's grammar: text to a tree of terms. What a field means is not known here.

either  = both {"or" both}
both    = factor {["and"] factor}
factor  = ("not" | "-") factor | "(" either ")" | term
term    = FIELD ":" VALUE | FIELD ("<" | "<=" | ">" | ">=" | "=" | "!=") VALUE | WORD | '"' words '"'
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from nanochat.common.errors import UserError

_COMPARED = re.compile(
    r"""(?P<field>[^\s()"<>=!:]+)
        (?: (?P<colon>:) (?P<value>"[^"]*"?|[^\s()"]*)
          | \s*(?P<op><=|>=|!=|<|>|=)\s* (?P<operand>"[^"]*"?|[^\s()"]*) )""",
    re.VERBOSE,
)
_WORD = re.compile(r'"[^"]*"?|[^\s()"]+')
_KEYWORD = re.compile(r"(and|or|not)(?![^\s()])", re.IGNORECASE)
_DEEPEST = 50


class FilterError(UserError):
    """What the filter does not understand. `start` is where in the text that begins."""

    def __init__(self, message: str, hint: str = "", start: int = 0) -> None:
        super().__init__(message, hint)
        self.start = start


@dataclass(frozen=True)
class Term:
    """`FIELD op VALUE`, or a word to search for where `field` is empty. `start` is its place in the text."""

    field: str
    op: str
    value: str
    start: int


@dataclass(frozen=True)
class Not:
    """Holds where `inner` does not."""

    inner: Expr


@dataclass(frozen=True)
class All:
    """Holds where all of `parts` do; none at all is everything."""

    parts: tuple[Expr, ...]


@dataclass(frozen=True)
class Any:
    """Holds where one of `parts` does."""

    parts: tuple[Expr, ...]


Expr = Term | Not | All | Any


def read(text: str) -> Expr:
    """The tree of a filter. Raises `FilterError` for text outside the grammar."""
    reader = _Reader(text)
    tree = reader.either(0)
    if not reader.at_end:
        raise FilterError("a ) that closes nothing", "quote it to search for it", reader.at)
    return tree


def terms(tree: Expr) -> list[Term]:
    """Every term of a tree, in order."""
    if isinstance(tree, Term):
        return [tree]
    if isinstance(tree, Not):
        return terms(tree.inner)
    return [term for part in tree.parts for term in terms(part)]


class _Reader:
    """Reads one text from left to right."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self._skip()

    @property
    def at_end(self) -> bool:
        return self.at >= len(self.text)

    def _skip(self, to: int | None = None) -> None:
        self.at = self.at if to is None else to
        while not self.at_end and self.text[self.at].isspace():
            self.at += 1

    def _keyword(self) -> str:
        found = _KEYWORD.match(self.text, self.at)
        return found[0].lower() if found else ""

    def _next_is(self, letter: str) -> bool:
        return self.text.startswith(letter, self.at)

    def either(self, depth: int) -> Expr:
        parts = [self._both(depth)]
        while self._keyword() == "or":
            start = self.at
            self._skip(self.at + 2)
            parts.append(self._both(depth))
            if parts[0] == All(()) or parts[-1] == All(()):
                raise FilterError(
                    "'or' needs a term on either side", 'quote it to search for it: "or"', start
                )
        return parts[0] if len(parts) == 1 else Any(tuple(parts))

    def _both(self, depth: int) -> Expr:
        parts: list[Expr] = []
        joined = -1
        while not self.at_end and not self._next_is(")") and self._keyword() != "or":
            if self._keyword() == "and":
                if not parts or joined >= 0:
                    break
                joined = self.at
                self._skip(self.at + 3)
                continue
            parts.append(self._factor(depth))
            joined = -1
        if joined >= 0 or self._keyword() == "and":
            where = joined if joined >= 0 else self.at
            raise FilterError("'and' needs a term on either side", 'quote it to search for it: "and"', where)
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _factor(self, depth: int) -> Expr:
        start = self.at
        if depth > _DEEPEST:
            raise FilterError(f"nested deeper than {_DEEPEST}", "leave parentheses out", start)
        if self._keyword() == "not":
            self._skip(self.at + 3)
            if self.at_end or self._next_is(")") or self._keyword() in ("and", "or"):
                raise FilterError("'not' of what?", "for example: not status:failed", start)
            return Not(self._factor(depth + 1))
        if self._next_is("-") and self.text[self.at + 1 : self.at + 2].strip():
            self.at += 1
            return Not(self._factor(depth + 1))
        if self._next_is("("):
            self._skip(self.at + 1)
            inner = self.either(depth + 1)
            if not self._next_is(")"):
                raise FilterError("a ( is not closed", "add a )", start)
            self._skip(self.at + 1)
            return inner
        return self._term()

    def _term(self) -> Term:
        start = self.at
        found = _COMPARED.match(self.text, self.at)
        if found is not None:
            colon = found["colon"] is not None
            value = found["value"] if colon else found["operand"]
            op = ":" if colon else found["op"]
            self._skip(found.end())
            return Term(found["field"], op, self._unquoted(value, start), start)
        word = _WORD.match(self.text, self.at)
        if word is None:  # a ) is all that is left, and the caller looks at that first
            raise FilterError("a ) that closes nothing", "quote it to search for it", start)
        if word[0][0] in "<>=!:":
            raise FilterError(f"'{word[0]}' compares nothing", "for example: loss<2.5", start)
        self._skip(word.end())
        return Term("", "", self._unquoted(word[0], start), start)

    def _unquoted(self, value: str, start: int) -> str:
        if not value.startswith('"'):
            return value
        if len(value) < 2 or not value.endswith('"'):
            raise FilterError("a quotation mark is not closed", 'add a "', start)
        return value[1:-1]
