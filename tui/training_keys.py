"""The keys of the screens that train a tokenizer, show a mask, a sweep and the data; as in `chat_keys`."""

from __future__ import annotations

from tui.chat_keys import Row

TRAINING_KEYS: dict[str, tuple[Row, ...]] = {
    "mask": (
        ("open", "o", "open", "open", "Open samples, a file of JSON lines, or a task's items", True, False),
        ("next", "n", "go(1)", "next", "The next conversation", True, False),
        ("previous", "N", "go(-1)", "previous", "The conversation before", True, False),
        ("number", "g", "number", "go to", "Go to a conversation by its number", False, False),
        ("limit", "m", "limit", "length", "Cut at another number of tokens", True, False),
        ("tokenizer", "t", "tokenizer", "tokenizer", "Render with another tokenizer", True, False),
        (
            "change",
            "tab",
            "trained(1)",
            "next change",
            "The next token where the mask changes",
            True,
            False,
        ),
        ("change_back", "shift+tab", "trained(-1)", "change before", "The one before", False, False),
        ("left", "left,h", "token(-1)", "left", "The token before", False, False),
        ("right", "right,l", "token(1)", "right", "The next token", False, False),
        ("up", "up,k", "line(-1)", "up", "The line above", False, False),
        ("down", "down,j", "line(1)", "down", "The line below", False, False),
        ("page_up", "pageup", "page(-1)", "page up", "One page up", False, False),
        ("page_down", "pagedown", "page(1)", "page down", "One page down", False, False),
        ("first", "home", "end(0)", "start", "The first token", False, False),
        ("last", "end,G", "end(1)", "end", "The last token", False, False),
        ("copy", "y", "copy", "copy JSON", "Copy ids and mask as JSON", False, False),
    ),
    "training": (
        ("train", "n", "train", "train", "Train a tokenizer: its Launch form, filled in", True, True),
        ("open", "enter", "open", "open", "Open the run under the cursor", True, False),
        ("stop", "s", "stop", "stop", "Stop the run under the cursor (asks first)", True, True),
        ("copy", "y", "copy", "copy command", "Copy the command that runs it again", True, False),
        ("sort", "o", "sort", "sort", "Sort by the next column", False, False),
        ("reverse", "O", "reverse", "reverse", "Reverse the order", False, False),
    ),
    "sweep": (
        ("run", "n", "run", "new sweep", "Run a sweep over vocabulary sizes here", True, True),
        ("cancel", "s", "cancel", "cancel", "Cancel the sweep that is running", True, True),
        ("older", "left_square_bracket", "go(1)", "older", "The sweep before", True, False),
        ("newer", "right_square_bracket", "go(-1)", "newer", "The sweep after", True, False),
        ("overlay", "o", "overlay", "overlay", "Draw other sweeps over this one, or not", True, False),
        ("open", "f", "open", "open file", "Open what nanochat tok_sweep --json wrote", False, False),
        ("zoom", "z", "zoom", "full screen", "One plot on the whole screen, or all of them", True, False),
        ("logy", "l", "log_y", "log y", "Logarithmic y axis, or linear", False, False),
        ("export", "x", "export_plot", "export", "Write the plot as SVG, PNG or CSV", False, True),
        ("copy", "y", "copy", "copy JSON", "Copy the sweep as JSON", False, False),
    ),
    "data_stats": (
        ("run", "n", "run", "measure", "Measure the shards, or files and folders", True, True),
        ("cancel", "s", "cancel", "cancel", "Cancel what is being measured", True, True),
        ("older", "left_square_bracket", "go(1)", "older", "The result before", True, False),
        ("newer", "right_square_bracket", "go(-1)", "newer", "The result after", True, False),
        ("open", "f", "open", "open file", "Open what nanochat data stats --json wrote", True, False),
        ("copy", "y", "copy", "copy JSON", "Copy the result as JSON", False, False),
        ("up", "up,k", "scroll(-1)", "up", "One line up", False, False),
        ("down", "down,j", "scroll(1)", "down", "One line down", False, False),
        ("page_up", "pageup", "page(-1)", "page up", "One page up", False, False),
        ("page_down", "pagedown", "page(1)", "page down", "One page down", False, False),
    ),
}
