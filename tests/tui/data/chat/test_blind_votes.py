"""Blind comparisons: names hidden, votes kept in the store, and what they say of each model."""

import sqlite3
from pathlib import Path

import pytest
from chat_panes import Panes
from hypothesis import given
from hypothesis import strategies as st
from stub_server import END, StubServer, text

from nanochat.common.errors import UserError
from remote.store.schema import MIGRATIONS
from remote.store.store import Store
from remote.store.votes import Vote, VotedAnswer
from tui.data.chat.blind import Blind
from tui.data.chat.target import EndpointTarget
from tui.data.chat.win_rates import win_rates
from tui.data.intervals import wilson_interval


def answer(model: str) -> VotedAnswer:
    return VotedAnswer(model, "box", "text", 0.6, 50, 7)


def vote(*models: str, winner: int | None = None, all_bad: bool = False) -> Vote:
    return Vote(1.0, "q", tuple(map(answer, models)), winner, all_bad)


async def ask_both(panes: Panes, question: str) -> None:
    for pane, _ in zip(panes.set.panes, panes.set.ask(question), strict=True):
        await panes.answered(pane)


async def test_a_vote_says_what_was_compared_and_reveals_the_names(panes: Panes, stub: StubServer) -> None:
    stub.models = [{"id": name, "owned_by": "x"} for name in ("m0", "m1", "m2")]
    stub.answer = lambda body: [text(f"says {body['model']}"), END]
    for number in range(3):
        panes.set.add(EndpointTarget(stub.url, f"m{number}"))
    blind = Blind(panes.set.panes, seed=5)
    assert set(blind.order) == set(panes.set.panes) and len(blind.order) == 3
    with pytest.raises(UserError, match="not every pane has an answer"):
        blind.vote("tie")
    await ask_both(panes, "who are you?")
    made = blind.vote(1)
    assert blind.revealed and made.winner == 1 and made.question == "who are you?"
    models = [pane.target.model for pane in blind.order]  # type: ignore[union-attr]
    assert [one.model for one in made.answers] == models
    assert [one.text for one in made.answers] == [f"says {model}" for model in models]
    blind.shuffle()
    assert not blind.revealed and blind.why_no_vote() == "these answers were voted on"
    panes.set.panes[0].ask("something else")
    assert blind.why_no_vote() == "an answer is still coming"
    await panes.answered(panes.set.panes[0])
    assert blind.why_no_vote() == "the panes were asked different questions"
    await ask_both(panes, "and now?")
    assert blind.vote("all_bad").all_bad
    orders = {tuple(map(id, blind.order)) for _ in range(50) if blind.shuffle() is None}
    assert len(orders) == 6
    with pytest.raises(UserError, match="needs two panes"):
        Blind(panes.set.panes[:1])


def test_votes_come_back_from_the_store_and_can_be_taken_back(tmp_path: Path) -> None:
    store = Store(tmp_path / "store.db")
    first = vote("a", "b", winner=0)
    half = Vote(2.0, "half \ud800", (answer("a"), answer("\x1b[2Jb")), None, True)
    store.add_vote(first)
    number = store.add_vote(half)
    kept = store.votes()
    assert kept[0] == first and kept[1].question == "half \ufffd" and kept[1].all_bad
    assert "\x1b" not in kept[1].answers[1].model
    store.remove_vote(number)
    assert store.votes() == [first]
    with sqlite3.connect(tmp_path / "store.db") as db:
        db.execute("INSERT INTO votes (t, question, answers, winner) VALUES (1, 'q', '[{}, 3]', 0)")
        db.execute("INSERT INTO votes (t, question, answers, winner) VALUES (1, 'q', 'no JSON', 0)")
    assert store.votes() == [first]
    store.close()


def test_a_store_of_before_gets_its_table_and_keeps_what_it_had(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with sqlite3.connect(path) as db:
        for script in MIGRATIONS[:7]:
            db.executescript(script)
        db.execute("INSERT INTO runs (host, run_id) VALUES ('box', 'r1')")
        db.execute("PRAGMA user_version = 7")
    store = Store(path)
    assert [row.run_id for row in store.runs()] == ["r1"] and store.votes() == []
    store.add_vote(vote("a", "b", winner=1))
    assert len(store.votes()) == 1
    store.close()


def test_win_rates_count_comparisons_and_are_as_sure_as_there_are_votes() -> None:
    votes = [vote("a", "b", winner=0)] * 8 + [vote("b", "a", winner=0), vote("a", "b", all_bad=True)]
    rows = {row.model: row for row in win_rates(votes)}
    a = rows["a"]
    assert (a.votes, a.wins, a.ties, a.losses, a.all_bad) == (10, 8, 1, 1, 1)
    assert a.rate == pytest.approx(0.85) and rows["b"].rate == pytest.approx(0.15)
    assert [row.model for row in win_rates(votes)] == ["a", "b"]
    assert (a.low, a.high) == wilson_interval(0.85, 10)
    # One of four wins by chance a quarter of the votes: that is a rate of one half.
    four = [vote("a", "b", "c", "d", winner=at) for at in range(4)]
    assert {row.rate for row in win_rates(four)} == {0.5}
    assert win_rates([]) == [] and win_rates([vote("a", "a", winner=0)]) == []


def test_wilsons_interval_is_the_published_one() -> None:
    # R: prop.test(8, 10, correct = FALSE)$conf.int; Newcombe (1998), table I: 81 of 263, 15 of 148, 0 of 20.
    for wins, count, low, high in (
        (8, 10, 0.4902, 0.9433),
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
    ):
        assert wilson_interval(wins / count, count) == pytest.approx((low, high), abs=5e-5)
    assert wilson_interval(0.5, 0) == (0.0, 1.0)


@given(st.lists(st.tuples(st.lists(st.sampled_from("abcd"), min_size=2, max_size=4), st.integers(-2, 3))))
def test_wins_and_losses_balance(drawn: list[tuple[list[str], int]]) -> None:
    votes = [
        vote(*models, winner=winner if 0 <= winner < len(models) else None, all_bad=winner == -2)
        for models, winner in drawn
    ]
    rows = win_rates(votes)
    assert sum(row.wins for row in rows) == sum(row.losses for row in rows)
    assert all(0 <= row.low <= row.rate <= row.high <= 1 for row in rows)
    assert sum(row.ties for row in rows) % 2 == 0
