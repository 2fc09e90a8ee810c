"""What `bench/paint_latency.py` presses on the screens for training tokenizers, from Evals and back to it."""

from __future__ import annotations

from bench.parts.paint_step import CHANGED, Step, steps

TEXT = r" · [\d,]+ characters ─"

TRAINING_KEYS: list[Step] = [
    *steps("Evals→Tokenizer", ("F3", "F3", TEXT)),
    *steps("Tokenizer", ("leave the text", "Escape", CHANGED)),
    *steps(
        "Mask",
        ("opens", "a", r"● assistant"),
        ("next conversation", "n", "2 of 3"),
        ("next change", "Tab", r"assistant · trained"),
        ("next token", "Right", CHANGED),
        ("line below", "Down", CHANGED),
        ("length opens", "m", "tokens at most"),
        ("length taken", "=0\r", "at most 20,480"),
        ("open dialog", "o", "open conversations"),
        ("dialog closes", "Escape", "!open conversations"),
        ("leaves", "Escape", TEXT),
    ),
    *steps(
        "Sweep",
        ("opens", "w", "parameters of the tables"),
        ("is drawn", ",", r"ids \d"),
        ("full screen", "z", "!of model"),
        ("full screen leaves", "z", "of model"),
        ("form opens", "n", "sweep over vocabulary sizes"),
        ("form closes", "Escape", "!sweep over vocabulary sizes"),
        ("leaves", "Escape", TEXT),
    ),
    *steps(
        "Data",
        ("opens", "d", "documents by the script"),
        ("no older one", "[", "this is the oldest result"),
        ("form opens", "n", "measure a corpus"),
        ("form closes", "Escape", "!measure a corpus"),
        ("leaves", "Escape", TEXT),
    ),
    *steps(
        "Train",
        ("opens", "t", "trainings of tokenizers"),
        ("form opens", "n", "launch a stage"),
        ("form leaves", "Escape", "!launch a stage"),
        ("Evals", "F4", r"CORE · \d"),
    ),
]
