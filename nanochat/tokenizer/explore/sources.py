"""The tokenizers there are to look at, and opening one of them by what the user names."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from nanochat.common.errors import UserError, nearest
from nanochat.common.fields import parse_json, whole
from nanochat.common.files import read_regular
from nanochat.common.paths import CHECKPOINT_FOLDERS, Layout
from nanochat.tokenizer import files
from nanochat.tokenizer.explore.byte_level import RankSplitter
from nanochat.tokenizer.explore.library_splitter import LibrarySplitter
from nanochat.tokenizer.explore.plain import ByteSplitter, CharacterSplitter, WordSplitter
from nanochat.tokenizer.explore.rank_file import (
    CL100K,
    GPT2,
    KNOWN_FILES,
    O200K,
    P50K,
    PATTERNS,
    KnownFile,
    PatternNeededError,
    parse_ranks,
    read_rank_file,
)
from nanochat.tokenizer.explore.splitter import Splitter
from nanochat.tokenizer.published import Published, cache_dir, published_ranks
from nanochat.tokenizer.upstream import read_encoding

__all__ = ["PATTERNS", "PatternNeededError", "Source", "known_sources", "open_source"]

Group = Literal["trained", "host", "checkpoint", "published", "plain", "file"]

_NAMED: dict[str, KnownFile] = {
    "gpt2": GPT2,
    "gpt-2": GPT2,
    "r50k": GPT2,
    "p50k": P50K,
    "cl100k": CL100K,
    "gpt-4": CL100K,
    "gpt4": CL100K,
    "o200k": O200K,
    "gpt-4o": O200K,
    "gpt4o": O200K,
    **{known.encoding: known for known in KNOWN_FILES},
}
_PLAIN = {
    "bytes": ByteSplitter,
    "characters": CharacterSplitter,
    "words": WordSplitter,
    "whitespace": WordSplitter,
}
_RANK_LINE = re.compile(rb"[A-Za-z0-9+/]*={0,2} \d{1,9}\r?(\n|\Z)")
_META_BYTES = 8 << 20
"""Bytes of a `tokenizer.json` that a listing looks into: ours has far fewer."""


@dataclass(frozen=True)
class Source:
    """A tokenizer to choose: `spec` is what `open_source` takes, `name` what a list shows, `where` the place
    of its file or what it is."""

    spec: str
    name: str
    where: str
    group: Group = "file"


def known_sources(layout: Layout) -> list[Source]:
    """Tokenizers under the base directory (the present one, kept ones, copies of other hosts', those of
    checkpoints), then GPT-2, cl100k, o200k, then bytes, characters, words.

    Reads folders and the small `tokenizer.json` in them, no vocabulary; one that is in several places is
    listed once. Never raises: what cannot be read is left out.
    """
    found, seen = [], set()
    for path, name, group in _under(layout):
        size, fingerprint = _glance(path)
        if fingerprint not in seen:
            seen.add(fingerprint)
            spec = path.parent if path.name in (files.META_FILE, "tokenizer.pkl") else path
            found.append(Source(str(spec), f"{name} ({size:,})" if size else name, layout.told(spec), group))
    published = [
        Source("gpt2", "GPT-2", "r50k, 50,257 ids", "published"),
        Source("cl100k", "cl100k", "GPT-4, 100,277 ids", "published"),
        Source("o200k", "o200k", "GPT-4o, 200,019 ids", "published"),
    ]
    plain = [
        Source("bytes", "bytes", "one token a byte", "plain"),
        Source("characters", "characters", "one token a code point", "plain"),
        Source("words", "words", "one token a word between white space", "plain"),
    ]
    return [*found, *published, *plain]


def _under(layout: Layout) -> Iterator[tuple[Path, str, Group]]:
    """`(file, name, group)` of tokenizers under the base directory, the present one first."""
    folders = [layout.tokenizer, *(path for path in _folders(layout.base) if path != layout.tokenizer)]
    for folder in folders:
        for name in (files.META_FILE, "tokenizer.pkl"):
            if _holds(Path.is_file, folder / name):
                yield folder / name, folder.name, "trained"
                break
        for kept in sorted(_listed(folder, "tokenizer-*.json")):
            yield kept, f"{folder.name} {kept.stem.removeprefix('tokenizer-')[:8]}, replaced", "trained"
    for path in sorted(_listed(layout.base, f"*/*/{files.META_FILE}")):  # as tok_sweep saves them
        known = ("runs", layout.copied_tokenizers.name, *CHECKPOINT_FOLDERS.values())
        if path.parent.parent.name not in known:
            yield path, f"{path.parent.parent.name}/{path.parent.name}", "trained"
    for folder in _folders(layout.copied_tokenizers):
        for path in sorted(_listed(folder, "*/tokenizer.*"), key=_changed, reverse=True):
            if path.name in (files.META_FILE, "tokenizer.pkl"):
                yield path, f"tokenizer of {folder.name}", "host"
    for source, name in CHECKPOINT_FOLDERS.items():
        for tag in _folders(layout.base / name):
            for path in sorted(_listed(tag, f"step_*/tokenizer/{files.META_FILE}"), reverse=True):
                step = path.parent.parent.name.partition("_")[2].partition("-")[0].lstrip("0") or "0"
                yield path, f"{source} {tag.name}, step {step}", "checkpoint"


def _folders(folder: Path) -> list[Path]:
    found = (path for path in _listed(folder, "*") if not path.name.startswith("."))
    return sorted(path for path in found if _holds(Path.is_dir, path))


def _holds(test: Callable[[Path], bool], path: Path) -> bool:
    """Whether a path is such; not one that may not be looked at."""
    try:
        return test(path)
    except OSError:
        return False


def _listed(folder: Path, pattern: str) -> list[Path]:
    try:
        return list(folder.glob(pattern))
    except OSError:
        return []


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def _glance(path: Path) -> tuple[int, str]:
    """Vocabulary size and fingerprint as a `tokenizer.json` of ours says them; else 0 and the path."""
    if path.suffix == ".json":
        try:
            meta = parse_json(read_regular(path, _META_BYTES))
        except (OSError, ValueError, RecursionError):
            meta = None
        if isinstance(meta, dict) and meta.get("format") == files.FORMAT:
            told = str(meta.get("fingerprint") or meta.get("ranks_sha256") or path)
            return whole(meta.get("vocab_size"), 0) or 0, told
    return 0, str(path)


# -- opening ---------------------------------------------------------------------------------------


def open_source(spec: str, layout: Layout, *, pattern: str = "", offline: bool = False) -> Splitter:
    """The tokenizer that `spec` names: a known name (`gpt2`, `r50k`, `p50k`, `cl100k`, `o200k`, `bytes`,
    `characters`, `words`), a folder, or a file.

    Files: our `tokenizer.json`, one of Hugging Face, a tiktoken rank file, a SentencePiece `.model`,
    upstream's `tokenizer.pkl`; told apart by content, not by name. A rank file says no split pattern: it is
    known by its hash, or `pattern` names it (of `PATTERNS`, or a pattern itself). A published vocabulary is
    taken from tiktoken's cache, else fetched unless `offline`. Takes up to some seconds: off the event loop.
    Raises `PatternNeededError` where a pattern must be asked for, `UserError` for all else.
    """
    name = spec.strip().lower()
    if name in _PLAIN:
        return _PLAIN[name]()
    if name in _NAMED:
        return _open_published(_NAMED[name], offline)
    path = layout.resolve(spec)
    try:
        if not path.exists() and (layout.base / spec).exists():  # as a list shows its place
            path = layout.base / spec
        if path.is_dir():
            path = _file_in(path)
        if not path.exists():
            raise UserError(
                f"no tokenizer is called '{spec}', and there is no such file", nearest(spec, _names())
            )
        return _open_file(path, pattern, layout)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from error


def _names() -> list[str]:
    return ["gpt2", "r50k", "p50k", "cl100k", "o200k", *_PLAIN]


def _open_published(known: KnownFile, offline: bool) -> Splitter:
    try:
        raw = published_ranks(Published(known.name, known.encoding), known.sha256, offline=offline)
    except UserError as error:
        place = "" if offline else f"it is not in {cache_dir()} either: "
        hint = f"{place}go online once, or fill that folder; TIKTOKEN_CACHE_DIR names another"
        raise UserError(error.message, hint) from error
    ranks = parse_ranks(raw, Path(f"{known.encoding}.tiktoken"))
    return RankSplitter(known.name, ranks, known.pattern, known.specials)


def _file_in(folder: Path) -> Path:
    """The tokenizer's file in a folder. Raises `UserError` where there is none, or several."""
    for name in (files.META_FILE, "tokenizer.pkl", "tokenizer.model"):
        if (folder / name).is_file():
            return folder / name
    if (folder / "tokenizer").is_dir():  # a checkpoint's folder, or a base directory
        return _file_in(folder / "tokenizer")
    others = sorted([*folder.glob("*.tiktoken"), *folder.glob("*.model")])
    if len(others) == 1:
        return others[0]
    if others:
        raise UserError(f"{folder} holds several tokenizers", f"name one, for example {others[0].name}")
    raise UserError(
        f"no tokenizer in {folder}", "a folder has tokenizer.json, tokenizer.pkl, a .model or a .tiktoken"
    )


def _open_file(path: Path, pattern: str, layout: Layout) -> Splitter:
    raw = read_regular(path, files.MAX_FILE_BYTES)
    head = raw[:4096]
    if head.lstrip()[:1] == b"{":
        return _open_json(path, raw, layout)
    if _RANK_LINE.match(head):
        return read_rank_file(raw, path, pattern)
    if head[:1] == b"\x80" and path.suffix == ".pkl":
        ranks, split, specials = read_encoding(path)
        return RankSplitter(_told(path, layout), ranks, split, specials)
    if head[:1] == b"\n" and not head.isspace():
        return LibrarySplitter(raw, path, "sentencepiece")
    raise UserError(
        f"{path} is no tokenizer that is known",
        "known are tokenizer.json, tiktoken's rank files, SentencePiece's .model, upstream's tokenizer.pkl",
    )


def _open_json(path: Path, raw: bytes, layout: Layout) -> Splitter:
    if f'"format": "{files.FORMAT}"'.encode() in raw[:4096]:
        vocabulary = files.load_named(path)
        specials = files.special_ids(vocabulary.ranks)
        return RankSplitter(_told(path, layout), vocabulary.ranks, vocabulary.pattern, specials)
    return LibrarySplitter(raw, path, "tokenizers")


def _told(path: Path, layout: Layout) -> str:
    """The name of a tokenizer of ours or upstream's: its folder's, or its checkpoint's.

    Every plan and every base directory has a folder called tokenizer: all but the present one of this base
    directory are told with the folder around it, so that two panes never have the same heading.
    """
    folder = path.parent
    if path.name not in (files.META_FILE, "tokenizer.pkl"):
        return path.stem
    if folder.name != "tokenizer" or folder.resolve() == layout.tokenizer.resolve():
        return folder.name
    if folder.parent.name.startswith("step_"):
        step = folder.parent.name.partition("_")[2].partition("-")[0].lstrip("0") or "0"
        return f"{folder.parent.parent.name}, step {step}"
    return f"{folder.parent.name}/{folder.name}"
