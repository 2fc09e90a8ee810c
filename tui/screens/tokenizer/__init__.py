"""The Tokenizer screen: a text split by up to four tokenizers, and the screens that it opens by key."""
