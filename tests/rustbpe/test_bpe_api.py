"""The Python face: PyPI's signatures and results, plain errors, progress, interruption, the GIL."""

import copy
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from itertools import pairwise

import pytest
from corpora import GPT4_PATTERN, SPLIT_PATTERN

import rustbpe

CORPUS = ["the cat sat on the mat", "", "猫は the 猫 2024\n", "it's aaaa aaaaaaa"]


@pytest.fixture
def tokenizer() -> rustbpe.Tokenizer:
    trained = rustbpe.Tokenizer()
    trained.train_from_iterator(CORPUS, 280)
    return trained


def test_untrained_it_knows_bytes_and_matches_nothing() -> None:
    tokenizer = rustbpe.Tokenizer()
    assert tokenizer.vocab_size == 256
    assert tokenizer.get_pattern() == ""
    assert tokenizer.encode("abc") == []
    assert tokenizer.decode([104, 105]) == "hi"
    assert tokenizer.get_mergeable_ranks() == [(bytes([byte]), byte) for byte in range(256)]
    assert tokenizer.training_stats is None


def test_the_default_pattern_is_gpt4s(tokenizer: rustbpe.Tokenizer) -> None:
    assert tokenizer.get_pattern() == GPT4_PATTERN


def test_training_by_position_and_by_name() -> None:
    by_position, by_name = rustbpe.Tokenizer(), rustbpe.Tokenizer()
    by_position.train_from_iterator(iter(CORPUS), 270, 2, SPLIT_PATTERN)
    by_name.train_from_iterator(iterator=iter(CORPUS), vocab_size=270, buffer_size=2, pattern=SPLIT_PATTERN)
    assert by_position.get_mergeable_ranks() == by_name.get_mergeable_ranks()
    assert by_name.get_pattern() == SPLIT_PATTERN


def test_training_again_replaces_everything(tokenizer: rustbpe.Tokenizer) -> None:
    tokenizer.train_from_iterator(["xyxy"], 257, pattern=SPLIT_PATTERN)
    assert tokenizer.get_mergeable_ranks()[256:] == [(b"xy", 256)]
    assert tokenizer.encode("xyxyz") == [256, 256, ord("z")]
    assert tokenizer.training_stats.documents == 1


def test_the_vocabulary_is_smaller_when_the_text_runs_out_of_pairs() -> None:
    tokenizer = rustbpe.Tokenizer()
    tokenizer.train_from_iterator(["ab"], 1000)
    assert tokenizer.vocab_size == 257


def test_statistics_say_what_was_read(tokenizer: rustbpe.Tokenizer) -> None:
    stats = tokenizer.training_stats
    assert stats.documents == len(CORPUS)
    assert stats.characters == sum(map(len, CORPUS))
    assert stats.bytes == sum(len(text.encode()) for text in CORPUS)
    # the| cat| sat| on| the| mat, 猫は| the| 猫| |202|4|\n, it|'s| aaaa| aaaaaaa
    assert stats.pretokens == 6 + 7 + 4
    assert stats.distinct_pretokens == 16
    assert stats.merges == tokenizer.vocab_size - 256 == 24
    assert stats.count_seconds > 0
    assert stats.merge_seconds > 0


@pytest.mark.parametrize("vocab_size", [255, 0, -1])
def test_a_vocabulary_under_256_is_refused(vocab_size: int) -> None:
    with pytest.raises(ValueError, match=f"at least 256 .*not {vocab_size}"):
        rustbpe.Tokenizer().train_from_iterator(CORPUS, vocab_size)


def test_a_bad_pattern_is_refused_before_anything_is_read() -> None:
    documents = iter(CORPUS)
    with pytest.raises(ValueError, match=r"Invalid regex pattern: .*parenthesis"):
        rustbpe.Tokenizer().train_from_iterator(documents, 300, pattern="(")
    assert next(documents) == CORPUS[0]


def test_a_pattern_that_gives_up_says_where() -> None:
    with pytest.raises(ValueError, match=r"item 1 of the iterator.*[Bb]acktrack"):
        rustbpe.Tokenizer().train_from_iterator(["a", "a" * 60], 300, pattern=r"(?:a|a|a)*?(?=b)\b")


def test_an_item_that_is_no_str_is_named() -> None:
    with pytest.raises(TypeError, match="item 2 of the iterator is bytes, not str"):
        rustbpe.Tokenizer().train_from_iterator(["a", "b", b"c"], 300)
    with pytest.raises(TypeError, match="not iterable"):
        rustbpe.Tokenizer().train_from_iterator(3, 300)


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(UnicodeEncodeError, match="surrogates not allowed"):
        rustbpe.Tokenizer().train_from_iterator(["fine", "\ud800"], 300)
    with pytest.raises(UnicodeEncodeError):
        rustbpe.Tokenizer().encode("\ud800")


@pytest.mark.parametrize("options", [{"buffer_size": 0}, {"threads": 0}])
def test_no_buffer_and_no_thread_are_refused(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1"):
        rustbpe.Tokenizer().train_from_iterator(CORPUS, 300, **options)


def test_what_the_iterator_raises_comes_through_and_nothing_changes(tokenizer: rustbpe.Tokenizer) -> None:
    def broken() -> Iterator[str]:
        yield "a b c" * 100_000
        raise RuntimeError("shard 3 is torn")

    before = tokenizer.get_mergeable_ranks(), tokenizer.get_pattern(), repr(tokenizer.training_stats)
    with pytest.raises(RuntimeError, match="shard 3 is torn"):
        tokenizer.train_from_iterator(broken(), 400, pattern=SPLIT_PATTERN)
    assert (
        tokenizer.get_mergeable_ranks(),
        tokenizer.get_pattern(),
        repr(tokenizer.training_stats),
    ) == before


def test_decoding_refuses_what_is_no_token_and_no_text(tokenizer: rustbpe.Tokenizer) -> None:
    with pytest.raises(ValueError, match="Unknown token id: 280"):
        tokenizer.decode([97, 280])
    with pytest.raises(UnicodeDecodeError, match="byte 0xff in position 1"):
        tokenizer.decode([97, 255])
    with pytest.raises(OverflowError):
        tokenizer.decode([-1])


def test_a_batch_is_a_sequence_of_str(tokenizer: rustbpe.Tokenizer) -> None:
    assert tokenizer.batch_encode([]) == []
    assert tokenizer.batch_encode(("the", "")) == [tokenizer.encode("the"), []]
    with pytest.raises(TypeError, match="item 1 of texts is int, not str"):
        tokenizer.batch_encode(["a", 3])
    with pytest.raises(TypeError, match="one str"):
        tokenizer.batch_encode("ab")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda ranks: ranks[1:], "ids must run from 0 to 278; found 279"),
        (lambda ranks: [*ranks[:-1], (b"again", 5)], "id 5 is given twice"),
        (lambda ranks: [*ranks[:-1], (ranks[0][0], 279)], "token .* is given twice"),
        (lambda ranks: [(b"xx", 0), *ranks[1:]], "lack the byte 0x00"),
        (lambda ranks: [], "lack the byte 0x00"),
        (lambda ranks: [*ranks, (b"", 280)], "token 280 is empty"),
    ],
    ids=["gap", "same id", "same token", "byte missing", "empty", "empty token"],
)
def test_ranks_that_make_no_vocabulary_are_refused(tokenizer: rustbpe.Tokenizer, spoil, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        rustbpe.Tokenizer.from_mergeable_ranks(spoil(tokenizer.get_mergeable_ranks()), SPLIT_PATTERN)


def slow_documents(seconds: float) -> Iterator[str]:
    """Distinct words for about `seconds`."""
    end = time.monotonic() + seconds
    number = 0
    while time.monotonic() < end:
        yield " ".join(f"w{number}x{i}" for i in range(50))
        number += 1


def test_progress_reports_both_phases_at_intervals() -> None:
    calls: list[tuple[float, str, int, int | None]] = []
    tokenizer = rustbpe.Tokenizer()
    tokenizer.train_from_iterator(
        slow_documents(0.6),
        2000,
        progress=lambda phase, done, total: calls.append((time.monotonic(), phase, done, total)),
    )
    count = [call for call in calls if call[1] == "count"]
    merge = [call for call in calls if call[1] == "merge"]
    assert calls == count + merge
    assert len(count) >= 3
    assert [done for _, _, done, _ in count] == sorted(done for _, _, done, _ in count)
    assert count[-1][2:] == (tokenizer.training_stats.characters, None)
    assert merge[-1][2:] == (tokenizer.training_stats.merges, tokenizer.training_stats.merges)
    # The last call of a phase comes when the phase ends.
    gaps = [after[0] - before[0] for before, after in pairwise(count[:-1])]
    assert min(gaps, default=1) >= 0.09


def test_progress_comes_while_documents_trickle_in() -> None:
    def trickle() -> Iterator[str]:
        for number in range(8):
            time.sleep(0.06)
            yield f"document {number}"

    calls: list[int] = []
    rustbpe.Tokenizer().train_from_iterator(
        trickle(), 300, progress=lambda phase, done, total: calls.append(done) if phase == "count" else None
    )
    assert len(calls) >= 4


def test_documents_are_let_go_once_counted() -> None:
    """The corpus may be far larger than memory, also when the iterator is the slow side."""

    class Document(str):
        pass

    alive: weakref.WeakSet[Document] = weakref.WeakSet()
    most = 0

    def stream() -> Iterator[str]:
        nonlocal most
        for number in range(60):
            document = Document(f"{number} " * 300_000)
            alive.add(document)
            most = max(most, len(alive))
            yield document
            time.sleep(0.01)

    rustbpe.Tokenizer().train_from_iterator(stream(), 300, threads=2)
    assert most <= 8
    assert not alive


def test_what_progress_raises_ends_the_training() -> None:
    def refuse(phase: str, done: int, total: int | None) -> None:
        raise KeyError("no more")

    tokenizer = rustbpe.Tokenizer()
    with pytest.raises(KeyError, match="no more"):
        tokenizer.train_from_iterator(slow_documents(5), 300, progress=refuse)
    assert tokenizer.vocab_size == 256


def test_progress_may_ask_the_tokenizer(tokenizer: rustbpe.Tokenizer) -> None:
    sizes: list[int] = []
    tokenizer.train_from_iterator(["ab ab"], 258, progress=lambda *_: sizes.append(tokenizer.vocab_size))
    assert set(sizes) == {280}
    assert tokenizer.vocab_size == 258


@pytest.mark.parametrize("phase", ["count", "merge"])
def test_ctrl_c_ends_the_training_at_once(phase: str) -> None:
    """SIGINT in either phase becomes a KeyboardInterrupt within a fraction of a second."""
    program = f"""
        import itertools, random, signal, sys, time
        import rustbpe

        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in the background

        words = random.Random(1)
        document = " ".join("".join(words.choices("abcdefghijklmnop", k=13)) for _ in range(120_000))
        endless = itertools.repeat(document)
        documents = endless if {phase!r} == "count" else [document]
        def report(phase, done, total):
            if phase == {phase!r} and done:
                print("here", flush=True)
        began = time.monotonic()
        try:
            rustbpe.Tokenizer().train_from_iterator(documents, 3_000_000, pattern=r"\\S+| ", progress=report)
            print("finished")
        except KeyboardInterrupt:
            print("interrupted", flush=True)
    """
    running = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert running.stdout.readline() == "here\n"
        running.send_signal(signal.SIGINT)
        sent = time.monotonic()
        rest, _ = running.communicate(timeout=60)
        assert rest.split()[-1] == "interrupted"
        assert time.monotonic() - sent < 5
    finally:
        running.kill()
        running.wait()


def test_other_threads_run_while_it_works() -> None:
    """With the GIL held throughout, the second thread would not count at all."""
    ticks = 0
    done = threading.Event()

    def count() -> None:
        nonlocal ticks
        while not done.is_set():
            ticks += 1
            time.sleep(0.001)

    other = threading.Thread(target=count)
    document = " ".join(f"word{i}and{i * 7919 % 10007}" for i in range(100_000))
    other.start()
    try:
        time.sleep(0.02)
        before, began = ticks, time.monotonic()
        rustbpe.Tokenizer().train_from_iterator([document], 20_000, pattern=r"\S+|\s+")
        during, seconds = ticks - before, time.monotonic() - began
    finally:
        done.set()
        other.join()
    assert during > 20 * seconds
    assert during > 3


def test_threads_may_encode_with_one_tokenizer(tokenizer: rustbpe.Tokenizer) -> None:
    texts = [text * 40 for text in CORPUS] * 20
    expected = [tokenizer.encode(text) for text in texts]
    results: list[list[list[int]]] = []
    threads = [
        threading.Thread(target=lambda: results.append(tokenizer.batch_encode(texts))) for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [expected] * 6


def test_a_forked_process_may_encode(tokenizer: rustbpe.Tokenizer) -> None:
    """No pool of threads that a fork would lose: data loaders fork after the parent has encoded."""
    texts = ["the cat sat on the mat " * 2000] * 8
    expected = tokenizer.batch_encode(texts)
    child = os.fork()
    if child == 0:
        os._exit(0 if tokenizer.batch_encode(texts) == expected else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0


@pytest.mark.parametrize("copied", [lambda made: pickle.loads(pickle.dumps(made)), copy.deepcopy, copy.copy])
def test_a_copy_encodes_as_the_original(
    tokenizer: rustbpe.Tokenizer, copied: Callable[[rustbpe.Tokenizer], rustbpe.Tokenizer]
) -> None:
    expected = tokenizer.encode(CORPUS[2])
    again = copied(tokenizer)
    assert again.encode(CORPUS[2]) == expected
    assert again.get_mergeable_ranks() == tokenizer.get_mergeable_ranks()
    assert again.get_pattern() == tokenizer.get_pattern()
    again.train_from_iterator(["xyxy"], 257)
    assert tokenizer.encode(CORPUS[2]) == expected


def test_a_pickle_of_bad_tokens_is_refused(tokenizer: rustbpe.Tokenizer) -> None:
    expected = tokenizer.encode("the")
    with pytest.raises(ValueError, match="lack the byte"):
        tokenizer.__setstate__(("", [b"a"]))
    assert tokenizer.encode("the") == expected
