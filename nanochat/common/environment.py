"""Numbers that the environment gives."""

import os

from nanochat.common.errors import UserError
from nanochat.common.fields import parse_int


def env_number(name: str, default: int | None = None, low: int = 0) -> int:
    """The whole number in the variable `name`, from `low` on; `default` where it is not set.

    Raises `UserError` for anything else, and where it has to be set.
    """
    said = os.environ.get(name, "")
    if not said and default is not None:
        return default
    try:
        number = parse_int(said)
    except ValueError:
        number = low - 1
    if number < low:
        raise UserError(f"{name}='{said[:40]}' in the environment is not a whole number from {low} on")
    return number
