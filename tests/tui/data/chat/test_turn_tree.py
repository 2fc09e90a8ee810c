"""Branching conversations: every turn that was asked stays, one path through them is shown and sent."""

from hypothesis import given
from hypothesis import strategies as st

from nanochat.serve.answer import Answer
from nanochat.serve.conversation import AnswerSettings, Conversation, Part, Turn
from tui.data.chat.tree import TurnNode, TurnTree


def answered(tree: TurnTree, question: str, parent: TurnNode | None) -> TurnNode:
    node = tree.add(question, parent)
    node.answer = Answer(question, AnswerSettings(), "m", [Part("text", f"to {question}")], "stop")
    return node


def questions(tree: TurnTree) -> list[str]:
    return [node.question for node in tree.path]


def test_an_edited_question_is_a_sibling_and_the_old_branch_comes_back_whole() -> None:
    tree = TurnTree()
    one = answered(tree, "one", None)
    two = answered(tree, "two", one)
    answered(tree, "three", two)
    edited = answered(tree, "two, edited", one)
    assert questions(tree) == ["one", "two, edited"]
    assert (two.place, edited.place, one.place) == ((1, 2), (2, 2), (1, 1))
    assert tree.go(1) is two and questions(tree) == ["one", "two", "three"]
    assert tree.go(-1) is edited and questions(tree) == ["one", "two, edited"]
    assert tree.go(1, one) is None
    assert [node.question for node in tree.nodes()] == ["one", "two", "three", "two, edited"]


def test_a_question_is_sent_with_what_stands_before_it_whatever_is_shown() -> None:
    tree = TurnTree()
    one = answered(tree, "one", None)
    two = answered(tree, "two", one)
    other = answered(tree, "another one", None)
    sent = tree.conversation("be brief", before=two)
    assert sent.system == "be brief" and [turn.question for turn in sent.turns] == ["one"]
    assert tree.conversation(before=other).turns == ()
    tree.add("no answer yet", other)
    assert [turn.question for turn in tree.conversation().turns] == ["another one"]


def test_a_turn_is_joined_once_when_it_is_whole_and_afresh_while_it_comes() -> None:
    tree = TurnTree()
    node = answered(tree, "q", None)
    tree.coming = node
    assert node.answer is not None
    assert node.turn is not node.turn
    node.answer.parts.append(Part("text", " more"))
    assert node.turn is not None and node.turn.answer_text == "to q more"
    tree.coming = None
    assert node.turn is node.turn


@given(st.lists(st.tuples(st.text(max_size=5), st.sampled_from(["stop", "length", "stopped", "cut"]))))
def test_a_conversation_comes_back_out_of_its_tree(turns: list[tuple[str, str]]) -> None:
    made = [Turn(question, (Part("text", "a"),), reason) for question, reason in turns]
    made.append(Turn("empty", (), "stop"))
    conversation = Conversation.new("s")
    for turn in made:
        conversation = conversation.with_turn(turn)
    assert TurnTree.of(conversation).conversation("s") == conversation


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(-3, 3)), max_size=40))
def test_every_turn_can_be_shown_again(moves: list[tuple[int, int]]) -> None:
    tree = TurnTree()
    for place, offset in moves:
        nodes: list[TurnNode | None] = [None, *tree.nodes()]
        parent = nodes[place % len(nodes)]
        added = tree.add("q", parent)
        assert tree.leaf is added and (added.parent is parent)
        tree.go(offset)
    for node in tree.nodes():
        tree.show(node)
        assert node in tree.path
        assert node.siblings[node.place[0] - 1] is node
