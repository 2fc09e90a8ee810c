"""Byte-level BPE in Rust: training and encoding (see docs/rustbpe.md)."""

from rustbpe._rustbpe import Tokenizer, TrainingStats

__all__ = ["Tokenizer", "TrainingStats"]
