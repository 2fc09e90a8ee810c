"""How the processes of one launch find each other, ours or torchrun's. Light: the launcher loads no torch."""

from nanochat.common.environment import env_number

RENDEZVOUS = "NANOCHAT_RENDEZVOUS"
"""The environment variable that names their common file (torch's FileStore)."""


def world_size() -> int:
    """How many processes were started together. Raises `UserError` for a variable that is no number."""
    return env_number("WORLD_SIZE", 1, low=1)


def rank() -> int:
    """Which of them this one is; 0 of one alone, whatever something else left in the variable."""
    return env_number("RANK") if world_size() > 1 else 0
