"""The tokenizer, published vocabularies, and other formats of both."""
