"""The pipeline: data, tokenizer, model, training, evals, inference. Knows no screen and no SSH."""

__version__ = "0.1.0"
