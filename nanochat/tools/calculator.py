"""The calculator an assistant may call, and the state machine that detects calls in a stream of tokens.

An operator-precedence parser reads an expression and computes it value by value; nothing is ever passed to
`eval`. The language is that of upstream nanochat, a subset of Python's: after commas are removed, either
arithmetic over `0-9 + - * / . ( )` and spaces without `**`, or string methods around a `.count(`. Results
are Python's own, so `10/2` is `5.0` and `0.1+0.2` keeps its noise; leading zeros fail as they do in Python.

It differs from upstream's `eval` in three ways. Words such as `direct` or `file` inside a string are no
reason to refuse. A sum of thousands of terms has a result. And beside `.count(` only string literals and the
methods listed here are accepted: no keywords, no names, nothing that makes a string longer.
"""

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

MAX_EXPRESSION = 20_000
"""Characters of the longest expression that is evaluated: it bounds the time and memory of one call."""

_ARITHMETIC = re.compile(r"[0-9*+\-/.() ]*")
_STRING_CALL = re.compile(r"[a-zA-Z0-9'\"()._ ]*")
_TOKEN = re.compile(
    r"""(?P<space>\ +)
    | (?P<number>[0-9]+\.[0-9]* | \.[0-9]+ | [0-9]+)
    | (?P<ellipsis>\.\.\.)
    | (?P<string>[rRuUfF]?(?:'''.*?'''|\"\"\".*?\"\"\"|'(?!'')[^']*'|"(?!"")[^"]*"))
    | (?P<call>\.\ *[a-zA-Z_][a-zA-Z0-9_]*\ *\()
    | (?P<operator>//|[+\-*/])
    | (?P<open>\()
    | (?P<close>\))""",
    re.VERBOSE,
)

_BINARY: dict[str, tuple[int, Callable[[object, object], object]]] = {
    "+": (1, operator.add),
    "-": (1, operator.sub),
    "*": (2, operator.mul),
    "/": (2, operator.truediv),
    "//": (2, operator.floordiv),
}
_UNARY: dict[str, Callable[[Any], object]] = {"+": operator.pos, "-": operator.neg}
_UNARY_PRECEDENCE = 3

_STRING_METHODS = """
    capitalize casefold count endswith find index isalnum isalpha isascii isdecimal isdigit isidentifier
    islower isnumeric isprintable isspace istitle isupper lower lstrip partition removeprefix removesuffix
    rfind rindex rpartition rsplit rstrip split splitlines startswith strip swapcase title upper
"""
_METHODS: dict[type, frozenset[str]] = {
    str: frozenset(_STRING_METHODS.split()),
    list: frozenset({"count", "index"}),
    tuple: frozenset({"count", "index"}),
}
"""What may be called on a value: methods whose result is no longer than the string itself."""


class _NotAnExpressionError(Exception):
    """The text is not an expression of the calculator."""


def calculate(expression: str) -> str | None:
    """The result of `expression` as Python would print it, or None where there is none.

    Never raises and never runs code: other text, a division by zero, an overflow and a result too long to
    print all give None.
    """
    source = expression.replace(",", "")
    if len(source) > MAX_EXPRESSION:
        return None
    if _ARITHMETIC.fullmatch(source):
        accepted = "**" not in source
    else:
        accepted = ".count(" in source and _STRING_CALL.fullmatch(source) is not None
    if not accepted:
        return None
    try:
        return str(_Evaluator().evaluate(_tokens(source)))
    except (_NotAnExpressionError, ArithmeticError, TypeError, ValueError):
        return None


def _tokens(source: str) -> Iterator[tuple[str, str]]:
    """`(kind, text)` of each token; adjacent string literals are one."""
    position, literal = 0, ""
    in_literal = False
    while position < len(source):
        match = _TOKEN.match(source, position)
        if match is None:
            raise _NotAnExpressionError
        position = match.end()
        kind, text = match.lastgroup or "", match.group()
        if kind == "string":
            literal, in_literal = literal + _string_value(text), True
        elif kind != "space":
            if in_literal:
                yield "string", literal
                literal, in_literal = "", False
            yield kind, text
    if in_literal:
        yield "string", literal


def _string_value(text: str) -> str:
    quoted = text.lstrip("rRuUfF")
    width = 3 if quoted[:3] in ("'''", '"""') else 1
    return quoted[width:-width]


def _number(text: str) -> int | float:
    if "." in text:
        return float(text)
    if text[0] == "0" and text.strip("0"):
        raise _NotAnExpressionError  # a leading zero, which Python does not allow in an integer
    return int(text)


class _Evaluator:
    """Dijkstra's shunting-yard algorithm: operands and pending operators are on two stacks of its own, so
    deeply nested parentheses cannot exhaust Python's."""

    def __init__(self) -> None:
        self._values: list[object] = []
        self._pending: list[tuple[str, str]] = []
        """Operators and opened parentheses: ("binary" | "unary" | "group" | "call", text)."""

    def evaluate(self, tokens: Iterator[tuple[str, str]]) -> object:
        wants_operand = True
        before = ""
        for kind, text in tokens:
            wants_operand = self._operand(kind, text, before) if wants_operand else self._operator(kind, text)
            before = kind
        if wants_operand:
            raise _NotAnExpressionError
        self._reduce(0)
        if self._pending:
            raise _NotAnExpressionError
        return self._values.pop()

    def _operand(self, kind: str, text: str, before: str) -> bool:
        """Handles a token where a value must begin; returns whether the value is still to come."""
        if kind == "operator" and text in _UNARY:
            self._pending.append(("unary", text))
            return True
        if kind == "open":
            self._pending.append(("group", text))
            return True
        if kind == "close" and before in ("open", "call"):
            self._close_empty()
        elif kind == "number":
            self._values.append(_number(text))
        elif kind == "string":
            self._values.append(text)
        elif kind == "ellipsis":
            self._values.append(...)
        else:
            raise _NotAnExpressionError
        return False

    def _operator(self, kind: str, text: str) -> bool:
        """Handles a token after a value; returns whether another value must follow."""
        if kind == "operator":
            self._reduce(_BINARY[text][0])
            self._pending.append(("binary", text))
            return True
        if kind == "call":
            self._pending.append(("call", text.strip(".( ")))
            return True
        if kind != "close":
            raise _NotAnExpressionError
        self._reduce(0)
        if not self._pending:
            raise _NotAnExpressionError
        opened, name = self._pending.pop()
        if opened == "call":
            argument, value = self._values.pop(), self._values.pop()
            self._values.append(_call(value, name, argument))
        return False

    def _close_empty(self) -> None:
        opened, name = self._pending.pop()
        self._values.append(() if opened == "group" else _call(self._values.pop(), name))

    def _reduce(self, precedence: int) -> None:
        """Computes the pending operators that bind at least as strongly as `precedence`."""
        while self._pending:
            kind, text = self._pending[-1]
            if kind == "unary" and precedence <= _UNARY_PRECEDENCE:
                self._values.append(_UNARY[text](self._values.pop()))
            elif kind == "binary" and precedence <= _BINARY[text][0]:
                right, left = self._values.pop(), self._values.pop()
                self._values.append(_BINARY[text][1](left, right))
            else:
                return
            self._pending.pop()


def _call(value: object, name: str, *arguments: object) -> object:
    if name not in _METHODS.get(type(value), ()):
        raise _NotAnExpressionError
    return getattr(value, name)(*arguments)


class ToolTokenizer(Protocol):
    """What the state machine needs of a tokenizer."""

    def special_id(self, name: str) -> int: ...
    def encode(self, text: str) -> list[int]: ...
    def decode(self, ids: Sequence[int]) -> str: ...


class Calculator:
    """The calculator over token ids: one for a tokenizer, shared by the rows of a batch."""

    def __init__(self, tokenizer: ToolTokenizer) -> None:
        self._tokenizer = tokenizer
        self.python_start = tokenizer.special_id("python_start")
        self.python_end = tokenizer.special_id("python_end")
        self._output_start = tokenizer.special_id("output_start")
        self._output_end = tokenizer.special_id("output_end")

    def output(self, expression: Sequence[int]) -> list[int]:
        """The tokens of an expression's result: output_start, the result, output_end; none for an expression
        that is empty or has no result."""
        result = calculate(self._tokenizer.decode(expression)) if expression else None
        if result is None:
            return []
        return [self._output_start, *self._tokenizer.encode(result), self._output_end]


class ToolCallState:
    """Detects calls of the calculator in the tokens of one row, sampled and forced alike.

    The tokens between python_start and python_end are the expression; a second python_start begins it again,
    and a python_end without a start is ignored.
    """

    def __init__(self, calculator: Calculator) -> None:
        self._calculator = calculator
        self._expression: list[int] | None = None

    def feed(self, token: int) -> list[int]:
        """Reads the row's next token; returns the tokens that must follow it (mask 0), mostly none."""
        if token == self._calculator.python_start:
            self._expression = []
        elif self._expression is None:
            pass
        elif token == self._calculator.python_end:
            expression, self._expression = self._expression, None
            return self._calculator.output(expression)
        else:
            self._expression.append(token)
        return []
