"""The letters that sort a table by a column, together with shift."""

from __future__ import annotations

COLUMNS: dict[str, dict[str, tuple[str, str]]] = {
    "columns": {
        "status": ("U", "status; again: the other way round, as for every column"),
        "name": ("N", "name"),
        "stage": ("A", "stage"),
        "host": ("H", "host"),
        "step": ("S", "step"),
        "done": ("D", "how much is done"),
        "figure": ("R", "result"),
        "speed": ("K", "tokens a second"),
        "mfu": ("M", "model FLOPs utilisation"),
        "eta": ("E", "time left"),
        "elapsed": ("I", "time taken"),
        "plan": ("L", "plan"),
        "started": ("C", "date"),
    },
    "host_columns": {
        "name": ("H", "name; again: the other way round, as for every column"),
        "link": ("L", "link"),
        "latency": ("Y", "latency"),
        "live": ("V", "number of live runs"),
        "gpus": ("U", "number of GPUs"),
        "disk": ("D", "free disk"),
        "cores": ("C", "cores"),
        "target": ("W", "address"),
        "python": ("I", "interpreter"),
        "price": ("P", "price per hour"),
    },
}
"""By group of keys: for each column its letter, and what it is sorted by in words."""
COLUMN_KEYS: dict[str, dict[str, str]] = {
    group: {name: letter for name, (letter, _) in columns.items()} for group, columns in COLUMNS.items()
}
