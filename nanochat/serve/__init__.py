"""The OpenAI-compatible server, its clients, and conversations kept on disk."""
