"""Long documents made in pieces are those that are made at once."""

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from nanochat.common.fields import safe_json, safe_json_pieces
from nanochat.common.table_formats import csv_pieces, csv_text

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=6)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=4)
    ),
    max_leaves=12,
)


@given(values)
def test_json_in_pieces_is_the_document(value: object) -> None:
    assert "".join(safe_json_pieces(value, 1)) == safe_json(value, 1)


def test_a_long_document_comes_in_several_pieces() -> None:
    value = [{"id": number, "text": "\x1b[31m\n"} for number in range(5_000)]
    pieces = list(safe_json_pieces(value, 1))
    assert len(pieces) > 1 and "".join(pieces) == safe_json(value, 1)


def test_csv_in_pieces_is_the_table() -> None:
    for count in (0, 1, 999, 1_000, 1_001, 2_500):
        rows = [[number, f"=x{number}\n,"] for number in range(count)]
        text = "".join(csv_pieces(["id", "text"], rows))
        assert text == csv_text(["id", "text"], rows)
        assert len(list(csv.reader(io.StringIO(text)))) == count + 1
