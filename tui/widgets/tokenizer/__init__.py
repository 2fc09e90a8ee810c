"""The widgets of the Tokenizer screen."""
