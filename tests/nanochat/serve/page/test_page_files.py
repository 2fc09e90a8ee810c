"""What the server sends for the chat page: whole, under the headers that hold a browser to it. No browser."""

import re
from collections.abc import AsyncIterator
from importlib.resources import files

import httpx
import pytest

from nanochat.serve.page_files import page_files
from nanochat.serve.server import build_app

NAMES = sorted(page_files())
TEXTS = {name: file.content.decode() for name, file in page_files().items()}


def client(host: str = "127.0.0.1:8000", key: str = "") -> httpx.AsyncClient:
    app = build_app(None, "127.0.0.1", key, ())  # type: ignore[arg-type]  # the page asks no model
    return httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url=f"http://{host}")


@pytest.fixture
async def http() -> AsyncIterator[httpx.AsyncClient]:
    async with client() as opened:
        yield opened


async def test_every_file_is_served_under_its_name_with_strict_headers(http: httpx.AsyncClient) -> None:
    folder = files("nanochat.serve").joinpath("page")
    assert {file.name for file in folder.iterdir()} == set(NAMES) and len(NAMES) > 15
    for name in NAMES:
        answer = await http.get(f"/page/{name}")
        assert answer.status_code == 200 and answer.text == TEXTS[name]
        policy = dict(rule.split(" ", 1) for rule in answer.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == policy["frame-ancestors"] == policy["base-uri"] == "'none'"
        assert {policy[f"{kind}-src"] for kind in ("script", "style", "img", "connect")} == {"'self'"}
        assert policy["require-trusted-types-for"] == "'script'" and policy["trusted-types"] == "'none'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cross-origin-opener-policy"] == "same-origin"
        assert answer.headers["x-dns-prefetch-control"] == "off"
    assert (await http.get("/")).content == page_files()["index.html"].content


async def test_a_file_that_the_browser_has_is_not_sent_again(http: httpx.AsyncClient) -> None:
    first = await http.get("/")
    assert first.headers["cache-control"] == "no-cache"
    for known in (first.headers["etag"], f'"other", W/{first.headers["etag"]}'):
        again = await http.get("/", headers={"If-None-Match": known})
        assert (again.status_code, again.content, again.headers["etag"]) == (304, b"", first.headers["etag"])
    assert (await http.get("/", headers={"If-None-Match": '"other"'})).status_code == 200
    head = await http.head("/page/app.js")
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize(
    "path", ["/page/", "/page/missing.js", "/page/..%2f__init__.py", "/page/%2e%2e/server.py"]
)
async def test_nothing_else_lies_beside_the_page(http: httpx.AsyncClient, path: str) -> None:
    answer = await http.get(path)
    assert answer.status_code == 404 and answer.json()["error"]["code"] == "not_found"


async def test_the_page_needs_no_key_and_what_it_asks_does() -> None:
    async with client(key="secret") as http:
        assert (await http.get("/")).status_code == (await http.get("/page/app.js")).status_code == 200
        for path in ("/v1/models", "/metrics", "/page", "/Page/app.js"):
            assert (await http.get(path)).status_code == 401, path


async def test_a_name_that_only_leads_here_gets_no_page() -> None:
    """DNS rebinding: a page of another site, under its own name, would share this page's origin."""
    async with client("rebound.example:8000") as http:
        answer = await http.get("/")
    assert answer.status_code == 400 and answer.json()["error"]["code"] == "invalid_host"


def test_the_page_is_made_of_its_own_files_only() -> None:
    for name, text in TEXTS.items():
        without_names = re.sub(r'xmlns="[^"]*"', "", text)
        outside = re.findall(
            r"""(?:src|href|url|from|import)\s*[=(]?\s*["']?(?:https?:)?//\S+""", without_names
        )
        assert not outside, f"{name}: {outside}"
    named = {path for text in TEXTS.values() for path in re.findall(r'"(?:page/|\./)([\w.]+)"', text)}
    assert named == set(NAMES) - {"index.html"}


def test_no_script_or_style_stands_in_the_page_and_no_text_becomes_markup() -> None:
    index = TEXTS["index.html"]
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?! (?:type=\"module\" )?src=)|javascript:", index)
    for name in NAMES:
        if name.endswith(".js"):
            sinks = (
                r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|setHTML|eval\(|Function\("
            )
            assert not re.search(sinks, TEXTS[name]), name


def test_nothing_on_the_page_moves() -> None:
    for name in ("style.css", "answer.css"):
        assert not re.search(r"animation|transition|scroll-behavior|@keyframes", TEXTS[name])
