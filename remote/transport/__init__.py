"""Commands and files on a host: this machine, or one over SSH."""
