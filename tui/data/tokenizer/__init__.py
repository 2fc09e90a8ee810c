"""What the Tokenizer screen shows, without any widget."""
