"""The fields of a JSON request, read one at a time; a wrong one is refused by name.

A field that is missing or null has its default. Unknown fields are never looked at.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from nanochat.common.fields import INT64, json_int, real, whole
from nanochat.serve.api.errors import ApiError, refused, shown

MISSING = "missing_required_parameter"
WRONG_TYPE = "invalid_type"


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")


_DECODER = json.JSONDecoder(parse_int=json_int, parse_constant=_no_constant)


def parse_body(raw: bytes) -> "Fields":
    """The request in `raw`. Raises `ApiError` unless it is one JSON object in UTF-8."""
    try:
        document = _DECODER.decode(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise refused(None, f"the request is not UTF-8 (byte {error.start:,})", "invalid_json") from None
    except RecursionError:
        raise refused(None, "the request is nested too deep", "invalid_json") from None
    except ValueError as error:
        raise refused(None, f"the request is not JSON: {str(error)[:120]}", "invalid_json") from None
    if not isinstance(document, dict):
        raise refused(None, "the request is not a JSON object", "invalid_json")
    return Fields(document)


def clean(text: str) -> str:
    """`text` with what no UTF-8 can hold, halves of surrogate pairs, as U+FFFD."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


class Fields:
    """A JSON object whose fields are read by name; `path` stands before the name in errors."""

    def __init__(self, values: Mapping[str, Any], path: str = "") -> None:
        self._values = values
        self._path = path

    def __getitem__(self, name: str) -> Any:
        """The value as it came, None where it is missing."""
        return self._values.get(name)

    def has(self, name: str) -> bool:
        """Whether the field was given and is not null."""
        return self._values.get(name) is not None

    def path(self, name: str) -> str:
        """The field's full name, as errors give it."""
        return f"{self._path}.{name}" if self._path else name

    def wrong(self, name: str, wanted: str, code: str = "invalid_value") -> ApiError:
        """The error that says what the field's value should have been."""
        if name not in self._values:
            return refused(self.path(name), f"{self.path(name)} is missing: it should be {wanted}", MISSING)
        return refused(self.path(name), f"{self.path(name)}: {shown(self[name])} is not {wanted}", code)

    def whole(self, name: str, default: int, low: int = -INT64, high: int = INT64 - 1) -> int:
        """A whole number from `low` to `high`."""
        found = self.optional_whole(name, low, high)
        return default if found is None else found

    def optional_whole(self, name: str, low: int = -INT64, high: int = INT64 - 1) -> int | None:
        """As `whole`, None where it was not given."""
        value = self[name]
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(name, "a whole number", WRONG_TYPE)
        found = whole(value, low, high)
        if found is None:
            bounded = (low, high) != (-INT64, INT64 - 1)
            span = f"from {low:,} to {high:,}" if bounded else "of 64 bits, sign included"
            raise self.wrong(name, f"a whole number {span}")
        return found

    def real(self, name: str, default: float, low: float, high: float, *, above: bool = False) -> float:
        """A finite number from `low` (`above`: more than it) to `high`."""
        value = self[name]
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(name, "a number", WRONG_TYPE)
        found = real(value, low, high)
        if found is None or (above and found == low):
            wanted = f"above {low:g} and at most {high:g}" if above else f"from {low:g} to {high:g}"
            raise self.wrong(name, f"a number {wanted}")
        return found

    def flag(self, name: str, default: bool = False) -> bool:
        """True or false."""
        value = self[name]
        if value is None:
            return default
        if not isinstance(value, bool):
            raise self.wrong(name, "true or false", WRONG_TYPE)
        return value

    def text(self, name: str, default: str = "") -> str:
        """A text."""
        value = self[name]
        if value is None:
            return default
        if not isinstance(value, str):
            raise self.wrong(name, "a text", WRONG_TYPE)
        return clean(value)

    def nested(self, name: str) -> "Fields | None":
        """A JSON object; None where it was not given."""
        value = self[name]
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self.wrong(name, "an object", WRONG_TYPE)
        return Fields(value, self.path(name))

    def entries(self, name: str, most: int) -> "list[Fields]":
        """A list of at most `most` JSON objects; required."""
        value = self[name]
        if not isinstance(value, list):
            raise self.wrong(name, "a list of objects", WRONG_TYPE)
        if len(value) > most:
            raise refused(self.path(name), f"{self.path(name)} has {len(value):,} entries, at most {most:,}")
        for index, item in enumerate(value):
            if not isinstance(item, dict):
                place = f"{self.path(name)}[{index}]"
                raise refused(place, f"{place}: {shown(item)} is not an object", WRONG_TYPE)
        return [Fields(item, f"{self.path(name)}[{index}]") for index, item in enumerate(value)]

    def is_zero(self, name: str) -> bool:
        """Whether the field is missing, null, or the number zero."""
        value = self[name]
        return value is None or (isinstance(value, int | float) and math.isclose(value, 0.0))
