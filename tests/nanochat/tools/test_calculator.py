"""The calculator answers what Python would, never runs code, never raises, never hangs."""

import random
import re
import string
import time
import warnings

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from nanochat.tokenizer.special_tokens import SPECIAL_TOKENS
from nanochat.tokenizer.tokenizer import Tokenizer
from nanochat.tools.calculator import MAX_EXPRESSION, Calculator, ToolCallState, calculate

DANGEROUS = [
    "__",
    "import",
    "exec",
    "eval",
    "compile",
    "open",
    "file",
    "input",
    "raw_input",
    "globals",
    "locals",
    "vars",
    "dir",
    "getattr",
    "setattr",
    "delattr",
    "hasattr",
]


def reference(expression: str) -> str | None:
    """What upstream's calculator answers: Python's eval behind its checks."""
    source = expression.replace(",", "")
    if set(source) <= set("0123456789*+-/.() "):
        if "**" in source:
            return None
    elif (
        set(source) - set(string.ascii_letters + string.digits + "'\"()._ ")
        or any(word in source.lower() for word in DANGEROUS)
        or ".count(" not in source
    ):
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return str(eval(source, {"__builtins__": {}}, {}))
        except Exception:
            return None


numbers = st.one_of(
    st.integers(0, 10**12).map(str),
    st.integers(0, 9999).map(lambda n: f"{n:,}"),
    st.decimals(0, 10**6, places=2, allow_nan=False).map(str),
    st.sampled_from(["0", "00", "007", "1.", ".5", "09.5", "1.5.2", "9" * 400, "1" + "0" * 400 + ".0"]),
)
arithmetic = st.recursive(
    numbers,
    lambda inner: st.one_of(
        st.tuples(inner, st.sampled_from(["+", "-", "*", "/", "//", "**"]), inner).map("".join),
        st.tuples(inner, st.sampled_from([" + ", " - ", " * ", " / ", " // "]), inner).map("".join),
        st.tuples(st.sampled_from(["-", "+", "--", "- "]), inner).map("".join),
        inner.map(lambda text: f"({text})"),
        inner.map(lambda text: f" ( {text} ) "),
    ),
    max_leaves=12,
)
words = st.text(string.ascii_lowercase + " ", max_size=12)
quotes = st.sampled_from(["'", '"', "'''"])
literals = st.builds(
    lambda q, prefix, w: f"{prefix}{q}{w}{q}", quotes, st.sampled_from(["", "", "", "r", "U", "f"]), words
)
counts = st.recursive(
    st.one_of(literals, st.tuples(literals, literals).map(" ".join)),
    lambda inner: st.one_of(
        st.tuples(inner, literals).map(lambda pair: f"{pair[0]}.count({pair[1]})"),
        st.tuples(inner, st.sampled_from(["lower", "upper", "strip", "title", "split", "isalpha"])).map(
            lambda pair: f"{pair[0]}.{pair[1]}()"
        ),
        st.tuples(inner, st.sampled_from(["strip", "find", "split"]), literals).map(
            lambda parts: f"{parts[0]}.{parts[1]}({parts[2]})"
        ),
        inner.map(lambda text: f"({text})"),
    ),
    max_leaves=5,
)


@pytest.mark.slow
@settings(max_examples=1500, deadline=None)
@given(arithmetic)
@example("10/2")
@example("0.1+0.2")
@example("7//2")
@example("-7//2")
@example("2-3-4")
@example("8/4/2")
@example("-2*-3")
@example("12 / 0")
@example("1e5")
@example("")
@example("()")
@example("()*3")
@example("...")
@example(" 1")
@example("1 2")
@example("3(4)")
@example("1\n")
@example("٣+1")
def test_arithmetic_is_pythons(expression):
    assert calculate(expression) == reference(expression)


@pytest.mark.slow
@settings(max_examples=1500, deadline=None)
@given(st.text("0123456789*+-/.() ", max_size=12))
def test_any_text_of_the_arithmetic_alphabet_is_pythons(text):
    assert calculate(text) == reference(text)


@pytest.mark.slow
@settings(max_examples=1500, deadline=None)
@given(counts)
@example("'strawberry'.count('r')")
@example('"strawberry".count("r")')
@example("'Hello World'.lower().count('l')")
@example("'a,b,c'.count(',')")
@example("''.count('')")
@example("'the cat the dog'.split().count('the')")
@example("('abc').count('a')")
@example("'abc'.count()")
@example("'abc'.count(1)")
@example("'abc'.count('a').count('b')")
@example("'abc'.count('a' 'b')")
@example("''''.count('a')")
@example("'abc' .count ('a')")
def test_counting_in_strings_is_pythons(expression):
    expected = reference(expression)
    if any(word in expression for word in DANGEROUS):
        assert expected is None
    else:
        assert calculate(expression) == expected


@pytest.mark.parametrize(
    ("expression", "result"),
    [
        ("'direct'.count('r')", "1"),
        ("'profile'.count('e')", "1"),
        ("'evaluate'.count('a')", "2"),
        ("'a__b'.count('_')", "2"),
        ("+".join(["1"] * 9000), "9000"),
    ],
)
def test_where_ours_answers_and_the_reference_does_not(expression, result):
    assert reference(expression) is None
    assert calculate(expression) == result


@pytest.mark.parametrize(
    "expression",
    [
        "2**3",
        "9**9**9**9",
        "__import__('os').system('x').count('a')",
        "().__class__.__bases__.count('a')",
        "'a'.__class__.count('a')",
        "'a'.join('xyz').count('a')",
        "'a'.center(1000000000).count('a')",
        "'{}'.format('a').count('a')",
        "b'abc'.count(b'a')",
        "x.count('a')",
        "'abc'.count(a)",
        "'abc'.count('a') or 1",
        "'abc'.upper()",
        "[1].count(1)",
        "(" * 15000 + "1" + ")" * 15000,
        "-" * (MAX_EXPRESSION + 1),
        "1" * 5000,
        "*".join(["9" * 4000] * 4),
        "1+",
        "(1",
        "1)",
        ")(",
        "'abc'.count('a'",
        "'abc'.count('a'))",
        "<|python_start|>",
        "1+1\x00",
    ],
)
def test_what_has_no_answer(expression):
    assert calculate(expression) is None


def test_deep_nesting_answers_without_deep_recursion():
    assert calculate("(" * 5000 + "1" + ")" * 5000) == "1"
    assert calculate("-" * 5000 + "1") == "1"


def test_noise_never_raises_and_never_takes_long():
    source = random.Random(7)
    pieces = [
        "'",
        '"',
        "(",
        ")",
        ".",
        ".count(",
        ".lower()",
        "9" * 300,
        "1",
        "+",
        "-",
        "//",
        "/",
        "*",
        " ",
        ",",
    ]
    started = time.perf_counter()
    for _ in range(4000):
        answer = calculate("".join(source.choices(pieces, k=source.randint(1, 60))))
        assert answer is None or isinstance(answer, str)
    for worst in (
        "*".join(["9"] * 9_999),
        "*".join(["9" * 4000] * 4) + "//7",
        f"'{'a' * 9_000}'" + ".lower()" * 1300 + ".count('a')",
        f"'{'ab' * 4_000}'" + f".count('{'ab' * 3_900}')",
        "'" * 19_999,
        "(" * 19_999,
    ):
        calculate(worst)
    assert time.perf_counter() - started < 3


@settings(max_examples=500, deadline=None)
@given(st.text(max_size=40))
def test_any_text_at_all_gives_a_string_or_nothing(text):
    answer = calculate(text)
    assert answer is None or isinstance(answer, str)


# -- the state machine -----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    ranks = {bytes([byte]): byte for byte in range(256)}
    return Tokenizer(ranks | {b"15": 256})


def follow(tokenizer: Tokenizer, text: str) -> list[list[int]]:
    """What the machine forces after each token of `text`, where special tokens are spelled out."""
    row = ToolCallState(Calculator(tokenizer))
    forced = []
    for piece in re.split("(" + "|".join(map(re.escape, SPECIAL_TOKENS)) + ")", text):
        ids = [tokenizer.special_ids[piece]] if piece in SPECIAL_TOKENS else tokenizer.encode(piece)
        forced += [row.feed(token) for token in ids]
    return forced


def spelled(tokenizer: Tokenizer, ids: list[int]) -> str:
    return tokenizer.decode(ids)


def test_a_call_is_answered_when_it_ends(tokenizer):
    forced = follow(tokenizer, "so <|python_start|>12,0/8<|python_end|>")
    assert not any(forced[:-1])
    assert spelled(tokenizer, forced[-1]) == "<|output_start|>15.0<|output_end|>"


def test_the_forced_answer_begins_no_call_of_its_own(tokenizer):
    row = ToolCallState(Calculator(tokenizer))
    queue = [
        tokenizer.special_id("python_start"),
        *tokenizer.encode("3*5"),
        tokenizer.special_id("python_end"),
    ]
    seen = []
    while queue:
        seen.append(queue.pop(0))
        queue = row.feed(seen[-1]) + queue
    assert spelled(tokenizer, seen) == "<|python_start|>3*5<|python_end|><|output_start|>15<|output_end|>"
    after = [*tokenizer.encode("1+1"), tokenizer.special_id("python_end")]
    assert not any(row.feed(token) for token in after)  # nothing is open that would be computed


@pytest.mark.parametrize(
    "text",
    [
        "<|python_start|><|python_end|>",
        "<|python_start|>what?<|python_end|>",
        "<|python_start|>1/0<|python_end|>",
        "1+1<|python_end|>",
        "<|python_start|>1+<|user_start|>1<|python_end|>",
        "<|python_start|>1+1",
        "<|output_start|>1+1<|output_end|>",
    ],
)
def test_what_forces_nothing(tokenizer, text):
    assert not any(follow(tokenizer, text))


def test_a_second_start_begins_the_expression_anew(tokenizer):
    forced = follow(tokenizer, "<|python_start|>nonsense<|python_start|>2+3<|python_end|>")
    assert spelled(tokenizer, forced[-1]) == "<|output_start|>5<|output_end|>"


def test_rows_of_a_batch_do_not_hear_each_other(tokenizer):
    calculator = Calculator(tokenizer)
    first, second = ToolCallState(calculator), ToolCallState(calculator)
    first.feed(tokenizer.special_id("python_start"))
    first.feed(tokenizer.encode("7")[0])
    assert second.feed(tokenizer.special_id("python_end")) == []
    assert (
        spelled(tokenizer, first.feed(tokenizer.special_id("python_end")))
        == "<|output_start|>7<|output_end|>"
    )
