#!/usr/bin/env bash
# markdown-it-py 4.3.0 (CommonMark, and so every page and terminal that draws a model's answers with it): an answer that is
# only a number and a full stop shows nothing.
#
# "35." is the right answer to a sum, and by CommonMark an ordered list whose only item is empty and which starts at 35. HTML
# draws a list item that is empty, and what is read aloud or copied from it holds no 35. One word before it makes it text.
#
# Seen with Python 3.11: "35." and "42)" → an empty item; "The answer is 35." → a paragraph; Rich 15.0.0 prints nothing of 35
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check markdown-it-py==4.3.0 rich==15.0.0
cat >"$folder/try.py" <<'PY'
import io

from markdown_it import MarkdownIt
from rich.console import Console
from rich.markdown import Markdown

seen = {text: MarkdownIt().render(text) for text in ("35.", "42)", "The answer is 35.")}
screen = io.StringIO()
Console(file=screen, width=40).print(Markdown("35."))
print(seen, repr(screen.getvalue()))
assert seen["35."] == '<ol start="35">\n<li></li>\n</ol>\n'
assert seen["42)"] == '<ol start="42">\n<li></li>\n</ol>\n'
assert seen["The answer is 35."] == "<p>The answer is 35.</p>\n"
assert "35" not in screen.getvalue()
PY
"$folder/venv/bin/python" "$folder/try.py"
