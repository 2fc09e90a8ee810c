"""Generation: prefill, decode, the running batch, the KV cache, sampling."""
