"""What the chat page makes of an answer: Markdown drawn as it grows, files, and texts that mean harm."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from page_browser import ChatPage
from page_server import PageServer, Script, answer, ended, said
from playwright.async_api import expect

from nanochat.serve.chat_log import from_json, to_json, to_markdown
from nanochat.serve.conversation import AnswerSettings, Conversation, Part, Turn

pytestmark = [pytest.mark.slow, pytest.mark.asyncio(loop_scope="session")]

MARKDOWN = {
    "# One\n###### Six\n#none": "<h3>One</h3><h6>Six</h6><p>#none</p>",
    "a *b* **c** ***d*** ~~e~~ `f`": (
        "<p>a <em>b</em> <strong>c</strong> <em><strong>d</strong></em> <s>e</s> <code>f</code></p>"
    ),
    "snake_case_name 2*3*4 * no * \\*x\\*": "<p>snake_case_name 2<em>3</em>4 * no * *x*</p>",
    "``a`b`` and `open": "<p><code>a`b</code> and `open</p>",
    "**open and *closed*": "<p>**open and <em>closed</em></p>",
    "one\ntwo\n\n    indented": "<p>one<br>two</p><p>    indented</p>",
    "- a\n- b\n  - c\n\n  more\n* d": (
        "<ul><li><p>a</p></li><li><p>b</p><ul><li>c</li></ul><p>more</p></li></ul><ul><li>d</li></ul>"
    ),
    "35.": "<p>35.</p>",
    "3. a\n4. b\ntext\n\nend": '<ol start="3"><li>a</li><li>b<br>text</li></ol><p>end</p>',
    "> q\n> - x\n\n---\nafter": "<blockquote><p>q</p><ul><li>x</li></ul></blockquote><hr><p>after</p>",
    "```python\nx = '<b>'\n\n# no\n```\nafter": "<code>python|x = '&lt;b&gt;'\n\n# no</code><p>after</p>",
    "~~~\nopen ```\n": "<code>|open ```\n</code>",
    "| a | b |\n|--|:-:|\n| `x|y` | 2 |\n| 3 |": "<table>a,b;<code>x|y</code>,2;3,</table>",
    "no | table\n--": "<p>no | table<br>--</p>",
    "[x](https://e.org/a_(b)) https://e.org/c. <https://e.org/d>": (
        '<p><a href="https://e.org/a_(b)">x (https://e.org/a_(b))</a> '
        '<a href="https://e.org/c">https://e.org/c</a>. <a href="https://e.org/d">https://e.org/d</a></p>'
    ),
    "[x](javascript:alert) [y](//e.org) [z](https://good.org@e.org/)": (
        "<p><span>x (javascript:alert)</span> <span>y (//e.org)</span> <span>z (https://good.org@e.org/)</span></p>"
    ),
    "![cat](https://e.org/cat.png)": "<p><span>[image: cat] https://e.org/cat.png</span></p>",
    "<img src=x onerror=alert(1)> &amp; <b>": "<p>&lt;img src=x onerror=alert(1)&gt; &amp;amp; &lt;b&gt;</p>",
}
"""Markdown, and the elements it becomes: no attributes but `href` and `start`, code as language|text,
tables as their cells."""

SHAPE = """
async (texts) => {
  const { MarkdownView } = await import("/page/markdown.js");
  const escape = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
  const shape = (node) => {
    if (node.nodeType === 3) return escape(node.data);
    const inside = [...node.childNodes].map(shape).join("");
    if (node.matches(".code")) {
      const [language, code] = ["span", "code"].map((name) => node.querySelector(name).textContent);
      return `<code>${language}|${escape(code)}</code>`;
    }
    if (node.matches(".table")) {
      const cell = (node) => [...node.childNodes].map(shape).join("");
      const rows = [...node.querySelectorAll("tr")].map((row) => [...row.children].map(cell).join(","));
      return `<table>${rows.join(";")}</table>`;
    }
    const name = node.tagName.toLowerCase();
    if (name === "bdi") return inside;
    const named = ["href", "start"].filter((name) => node.hasAttribute(name));
    const kept = named.map((name) => ` ${name}="${node.getAttribute(name)}"`);
    return ["br", "hr"].includes(name) ? `<${name}>` : `<${name}${kept.join("")}>${inside}</${name}>`;
  };
  return texts.map((text) => {
    const view = new MarkdownView();
    view.update(text);
    return [...view.element.childNodes].map(shape).join("");
  });
}
"""

GROWING = """
async (texts) => {
  const { MarkdownView } = await import("/page/markdown.js");
  const different = [];
  for (const text of texts) {
    const growing = new MarkdownView();
    for (let end = 1; end <= text.length; end += 1) {
      growing.update(text.slice(0, end));
      const whole = new MarkdownView();
      whole.update(text.slice(0, end));
      if (!growing.element.isEqualNode(whole.element)) {
        different.push([text.slice(0, end), growing.element.textContent, whole.element.textContent]);
        break;
      }
    }
  }
  return different;
}
"""


async def test_markdown_becomes_elements(page: ChatPage) -> None:
    await page.open()
    found = await page.page.evaluate(SHAPE, list(MARKDOWN))
    assert dict(zip(MARKDOWN, found, strict=True)) == MARKDOWN


async def test_what_is_drawn_as_it_grows_is_what_is_drawn_at_once(page: ChatPage) -> None:
    """Letter by letter; the parts in several orders, with and without blank lines between."""
    parts = list(MARKDOWN)
    texts = [
        "\n".join(parts),
        "\n\n".join(reversed(parts)),
        "\r\n".join(parts[::2]),
        "\x1b[31mred\x1b[0m\n- a",
    ]
    await page.open()
    assert await page.page.evaluate(GROWING, texts) == []


async def test_only_the_last_block_is_drawn_anew(page: ChatPage) -> None:
    await page.open()
    kept = await page.page.evaluate(
        """async () => {
          const { MarkdownView } = await import("/page/markdown.js");
          const view = new MarkdownView();
          view.update("first\\n\\n```\\ncode\\n```\\n\\nlast");
          const [first, code, last] = view.element.children;
          view.update("first\\n\\n```\\ncode\\n```\\n\\nlast one");
          const now = view.element.children;
          return [now[0] === first, now[1] === code, now[2] === last];
        }"""
    )
    assert kept == [True, True, False]


# -- files -----------------------------------------------------------------------------------------------

NASTY = (
    "é🙂\u202e\x1b[31mred\x1b[0m \x07\x9b\x00\r\nline\rend"
    "\u2028\u200b\ufeff\U000e0041 'quote\" \\ </script> 助手：no\n---\n### 问题 2"
)
LOG = Conversation(
    datetime(2025, 10, 16, 18, 40, 38),
    'Be "brief".\n\u2028 é🙂',
    (
        Turn(
            "What does `base_loss` measure?",
            (Part("text", "## Two figures\n- bits per byte on train and val\n- samples"),),
        ),
        Turn(
            NASTY,
            (Part("text", NASTY), Part("python", "2*3"), Part("python_output", "6"), Part("text", "6")),
            "length",
            "sft/d2@8",
            AnswerSettings(1.0, 0, 0.95, 0.001, 17, 2**31 - 1),
        ),
        Turn("", (), "stopped", "", AnswerSettings(0.0, 1, 1.0, 0.0, 1, None)),
    ),
)


async def test_logs_are_those_of_chat_cli_byte_for_byte(page: ChatPage, tmp_path: Path) -> None:
    written = tmp_path / "log.json"
    written.write_text(to_json(LOG), encoding="utf-8")
    await page.open()
    # An answer of which nothing came is no turn for the page, unless the model ended it.
    expected = Conversation(LOG.started, LOG.system, LOG.turns[:2])
    await page.page.get_by_label("A conversation's JSON file").first.set_input_files(written)
    await expect(page.turn(2)).to_be_visible()
    saved = await page.save("Save .json", tmp_path)
    assert saved.name == "cc_20251016_184038.json"
    assert saved.read_bytes().decode() == to_json(expected)
    assert from_json(saved.read_bytes()) == from_json(to_json(expected))
    saved = await page.save("Save .md", tmp_path)
    assert saved.name == "cc_20251016_184038.md"
    assert saved.read_bytes().decode() == to_markdown(expected)


async def test_the_reference_log_is_written_as_it_is(
    page: ChatPage, shared_reference: Path, tmp_path: Path
) -> None:
    reference = (shared_reference / "chat-log.md").read_text(encoding="utf-8")
    turns = (
        LOG.turns[0],
        Turn("两行的问题\n第二行", (Part("text", '```python\nprint("助手：not a turn")\n```'),)),
    )
    written = tmp_path / "log.json"
    written.write_text(to_json(Conversation(LOG.started, "", turns)), encoding="utf-8")
    await page.open()
    await page.page.get_by_label("A conversation's JSON file").first.set_input_files(written)
    await expect(page.turn(2)).to_be_visible()
    assert (await page.save("Save .md", tmp_path)).read_text(encoding="utf-8") == reference


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"format": "other"}, 'its "format" is not "nanochat-conversation"'),
        ({"version": 2}, "its version is not 1"),
        ({"started": "2025-13-01 00:00:00"}, "started is no time"),
        ({"turns": [{}]}, "turns[0].answer is not a list"),
        ({"turns": {}}, '"turns" is not a list'),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
async def test_a_file_that_is_no_log_is_told_and_changes_nothing(
    page: ChatPage, server: PageServer, tmp_path: Path, change: dict[str, Any], told: str
) -> None:
    await page.open(server.script("a", answer("kept")))
    await page.ask("Hi")
    broken = tmp_path / "broken.json"
    broken.write_text(json.dumps(json.loads(to_json(LOG)) | change))
    await page.page.get_by_label("A conversation's JSON file").first.set_input_files(broken)
    line = await page.sees(page.pane(1).locator(".notice"), "broken.json cannot be loaded")
    assert told in line
    await page.sees(page.answer(1), "kept")


# -- texts that mean harm --------------------------------------------------------------------------------

HOSTILE = [
    "<script>fetch('https://evil.example/')</script><img src=https://evil.example/a onerror=alert(1)>",
    "![x](https://evil.example/pixel.png) ![y](data:image/svg+xml,<svg/onload=alert(1)>)",
    "[click](javascript:alert(1)) [data](data:text/html,<script>alert(1)</script>) [file](file:///etc/passwd)",
    "<style>*{background:url(https://evil.example/)}</style><link rel=prefetch href=https://evil.example/>",
    "```html\n<iframe src=https://evil.example></iframe>\n```\n| <b>a</b> | b |\n|-|-|\n| <i>1</i> | 2 |",
    "\x1b]8;;https://evil.example\x07link\x1b]8;;\x07 \x1b[2J\u202eesrever\u202c \x00",
]


async def test_markup_links_and_images_of_an_answer_do_nothing(page: ChatPage, server: PageServer) -> None:
    text = "\n\n".join([*HOSTILE, "[docs](https://evil.example/docs)"])
    await page.open(server.script("<b>a</b>", answer(*text)))
    await page.ask("<img src=https://evil.example/q> \x1b[31m")
    shown = await page.sees(page.answer(1), "evil.example/docs")
    assert "<script>fetch('https://evil.example/')</script>" in shown and "⟨202e⟩esrever" in shown
    kinds = "script, img, iframe, style, link, svg, object, b, i, [onerror], [style]"
    assert await page.page.locator("#panes").locator(kinds).count() == 0
    links = page.answer(1).get_by_role("link")
    for one in await links.all():
        assert (await one.get_attribute("href") or "").startswith("https://evil.example")
        assert await one.get_attribute("rel") == "noopener noreferrer nofollow"
    assert await links.last.inner_text() == "docs (https://evil.example/docs)"
    assert not [url for url in page.requests if "evil" in url]


MEGABYTES = {
    "letters": "x" * 2**20,
    "words": "word " * 2**18,
    "lists": "- " * 2**19 + "x",
    "quotes": "> " * 2**19,
    "stars": "*a " * 2**19,
    "brackets": "[" * 2**20,
    "links": "[a](" * 2**18,
    "backticks": "`a``b" * 2**18,
    "lines": "\n" * 2**20,
    "table": "|a" * 2**19 + "\n" + "|-" * 2**19,
}


async def test_a_megabyte_in_one_line_leaves_the_page_usable(page: ChatPage, server: PageServer) -> None:
    text = MEGABYTES["words"]
    events = [said(text[at : at + 2**18]) for at in range(0, len(text), 2**18)]
    await page.open(server.script("a", Script([*events, ended()])))
    await page.ask("Hi")
    more = page.turn(1).get_by_role(
        "button", name=f"{len(text):,} characters, 60,000 shown: show 60,000 more"
    )
    await expect(more).to_be_visible()
    assert len(await page.answer(1).evaluate("node => node.textContent")) < 61_000
    for _ in range(4):
        await page.ask("more")
    assert server.asked[-1]["messages"][1]["content"] == text
    await expect(page.page.get_by_text("The browser has no room to keep these conversations")).to_be_visible()


@pytest.mark.timeout(60)
async def test_drawing_takes_time_in_proportion_to_the_text(page: ChatPage) -> None:
    """What takes more than that, on some of these, does not end within the test's time."""
    await page.open()
    lengths = await page.page.evaluate(
        """async (texts) => {
          const { MarkdownView } = await import("/page/markdown.js");
          return texts.map((text) => {
            const view = new MarkdownView();
            view.update(text);
            return view.element.textContent.length;
          });
        }""",
        [text[: 2**18] for text in MEGABYTES.values()],
    )
    assert len(lengths) == len(MEGABYTES)


async def test_marks_within_marks_are_bounded(page: ChatPage) -> None:
    await page.open()
    deepest = await page.page.evaluate(
        """async (texts) => {
          const { MarkdownView } = await import("/page/markdown.js");
          const depth = (node) => 1 + Math.max(0, ...[...node.children].map(depth));
          return texts.map((text) => {
            const view = new MarkdownView();
            view.update(text);
            return depth(view.element);
          });
        }""",
        [
            "> " * 500 + "x",
            "- " * 500 + "x",
            "*a _b " * 500 + "c_ d*" * 500,
            "[" * 500 + "x" + "](https://e.org)" * 500,
        ],
    )
    assert max(deepest) < 40
