"""How the processes of one launch find each other. Light: the launcher, which sets it, loads no torch."""

RENDEZVOUS = "NANOCHAT_RENDEZVOUS"
"""The environment variable that names their common file (torch's FileStore)."""
