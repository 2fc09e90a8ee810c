"""Python's garbage collector while a program loads what it is made of.

Importing torch has the collector run dozens of times, and the interpreter walks over all of it once more as
it ends: half a second of a core of the two and a half that a short stage takes. Modules stay for good.
"""

import atexit
import gc

_held = False


def hold_collector() -> None:
    """Turns the collector off until `release_collector`, and has the end of the process walk over nothing.

    For a program that begins to import, not for a library: what is garbage by its end stays as it is.
    """
    global _held
    if gc.isenabled():
        _held = True
        gc.disable()
        atexit.register(gc.freeze)


def release_collector() -> None:
    """Turns the collector on again if it was held: what lives now is left out of its scans for good."""
    global _held
    if _held:
        _held = False
        gc.freeze()
        gc.enable()
