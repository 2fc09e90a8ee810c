"""Talking to a model: the OpenAI-compatible server, clients, the chat in a terminal."""
