"""From files and published sets to shards, and from shards to rows of tokens."""
