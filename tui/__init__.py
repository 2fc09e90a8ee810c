"""The control room: screens and widgets over `remote` and the light parts of `nanochat`.

Imports no torch. The first frame needs neither the network nor plotext nor asyncssh.
"""
