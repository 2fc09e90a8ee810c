"""The HTTP endpoints: requests checked, answers in the shapes that OpenAI's and vLLM's clients know."""
