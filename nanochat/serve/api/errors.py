"""What a client is told when a request cannot be answered, in OpenAI's error shape.

{"error": {"message": "…", "type": "invalid_request_error", "param": "temperature", "code": "invalid_value"}}
"""

import json
from collections.abc import Mapping
from typing import Any

from nanochat.common.errors import one_line

INVALID = "invalid_request_error"
SHOWN = 60
"""Characters of a client's own value that an error repeats."""


class ApiError(Exception):
    """A refusal: the HTTP status, one line for people, and the field of the request it is about."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        kind: str = INVALID,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = one_line(message)
        self.param = param
        self.code = code
        self.kind = kind
        self.headers = dict(headers or {})

    @property
    def document(self) -> dict[str, Any]:
        """The body of the answer."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


def refused(param: str | None, message: str, code: str = "invalid_value") -> ApiError:
    """A request whose field `param` is wrong: status 400."""
    return ApiError(400, message, param=param, code=code)


def not_supported(param: str, message: str) -> ApiError:
    """A request for something that would change the answer and that this server cannot do."""
    return refused(param, message, "unsupported_parameter")


def too_large(limit: int) -> ApiError:
    """A request body of more than `limit` bytes."""
    return ApiError(
        413, f"the request is larger than {limit:,} bytes: send less text at once", code="request_too_large"
    )


def internal_error() -> ApiError:
    """A fault of the server; what it was stands in its log and is no business of the client."""
    return ApiError(500, "the server failed on this request; its log says why", kind="server_error")


def shown(value: object) -> str:
    """A client's value as JSON, short enough to be repeated in an error."""
    if isinstance(value, list | dict):
        return "a list" if isinstance(value, list) else "an object"
    text = json.dumps(value, default=str, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
