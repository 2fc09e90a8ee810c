"""`python -m nanochat` is the `nanochat` command."""

from nanochat.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
