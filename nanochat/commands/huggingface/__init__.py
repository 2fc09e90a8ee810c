"""A checkpoint as a folder that Hugging Face transformers loads; `modeling_nanochat.py` goes into it."""
