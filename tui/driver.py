"""The terminal's input, with `esc` told at once.

`esc` alone and the start of a longer sequence are the same byte: only what follows tells them apart. Textual
looks for that every 100 ms, whatever `ESCDELAY` says, so that a dialog closed a tenth of a second late.
"""

from __future__ import annotations

import os
import selectors
from codecs import getincrementaldecoder

from textual import constants
from textual._xterm_parser import XTermParser
from textual.drivers.linux_driver import LinuxDriver

LOOK_AGAIN = 0.1
"""Seconds after which the thread sees that it is to end."""
READ = 4096


class PromptDriver(LinuxDriver):
    """Waits for the rest of a sequence for `ESCDELAY` and no longer."""

    def run_input_thread(self) -> None:
        """Reads keys and mouse events until the driver is stopped."""
        parser = XTermParser(self._debug)
        decode = getincrementaldecoder("utf-8")("replace").decode
        with selectors.DefaultSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            while not self.exit_event.is_set():
                begun = parser._timeout_time is not None
                if selector.select(constants.ESCAPE_DELAY if begun else LOOK_AGAIN):
                    data = os.read(self.fileno, READ)
                    if not data:  # the terminal has gone: this is told again and again
                        self.exit_event.wait(LOOK_AGAIN)
                        continue
                    text = decode(data)
                    for event in parser.feed(text) if text else ():
                        self.process_message(event)
                for event in parser.tick():
                    self.process_message(event)
