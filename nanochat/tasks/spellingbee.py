"""SpellingBee: how often a letter occurs in a word; SimpleSpelling: the letters of a word.

Both are generated, each item from a seed of its own. Upstream nanochat once numbered its test seeds
-(index + 1); Python seeds by absolute value, so its test item i was its training item i + 1. Here test
seeds begin at ten million and no item of one split uses a seed of the other. The words of both splits are
from the same list, so a word may occur in both.
"""

import random
import string

from nanochat.tasks.base import Conversation, assistant, text_part, tool_call, user
from nanochat.tasks.registry import Request, TaskData, TaskSpec
from nanochat.tasks.scoring import NumberTask
from nanochat.tasks.words import find_words

TEST_SEED = 10_000_000
TEST_SIZE = 256
TRAIN_SIZE = {"SpellingBee": 80_000, "SimpleSpelling": 200_000}
_SHUFFLE_SEED = 42

QUESTIONS = (
    "How many {letter} does {word} have",
    "How many times do you see {letter} in {word}",
    "Tell me how often {letter} occurs in the word {word}",
    "In {word}, what is the number of {letter}",
    "Number of {letter} in {word}",
    "Please count every {letter} in the word {word}",
    "Is there any {letter} in {word}, and how many",
    "I need the count of the letter {letter} for {word}",
    "¿Cuántas veces aparece {letter} en {word}",
    "Cuenta las {letter} de la palabra {word}",
    "Combien de {letter} y a-t-il dans {word}",
    "Combien de fois trouve-t-on {letter} dans le mot {word}",
    "Wie oft kommt {letter} in {word} vor",
    "Wie viele {letter} hat das Wort {word}",
    "Quante {letter} ci sono in {word}",
    "Quantas vezes a letra {letter} aparece em {word}",
    "Сколько букв {letter} в слове {word}",
    "{word} 里有几个 {letter}",
    "数一数单词 {word} 中字母 {letter} 出现的次数",
    "{word} という単語に {letter} はいくつ入っていますか",
    "{word}에는 {letter}가 몇 개 있나요",
)
_QUOTES = ("", "'", '"')


def item_seed(split: str, index: int) -> int:
    """The seed of an item: training seeds stay below `TEST_SEED`, test seeds begin there."""
    if split == "test":
        return TEST_SEED + index
    if index >= TEST_SEED:
        raise ValueError(f"training item {index} would take a test seed")
    return index


class _Generated(NumberTask):
    def __init__(self, data: TaskData, request: Request) -> None:
        super().__init__(request.start, request.stop, request.step)
        self._split = request.split
        default = TEST_SIZE if request.split == "test" else TRAIN_SIZE[type(self).__name__]
        self._size = request.size or default
        self._words = find_words(data)

    def num_examples(self) -> int:
        return self._size

    def source(self) -> object:
        return self._words


class SpellingBee(_Generated):
    """Counts a letter of a word: spells it, counts letter by letter, checks the count with the calculator."""

    def example(self, index: int) -> Conversation:
        source = random.Random(item_seed(self._split, index))
        word = source.choice(self._words)
        letter = source.choice(word) if source.random() < 0.9 else source.choice(string.ascii_lowercase)
        return {"messages": [user(_question(source, word, letter)), assistant(_answer(word, letter))]}


def _question(source: random.Random, word: str, letter: str) -> str:
    template = source.choice(QUESTIONS)
    if source.random() < 0.3:
        template = template.lower()
    around_letter, around_word = source.choice(_QUOTES), source.choice(_QUOTES)
    question = template.format(
        letter=f"{around_letter}{letter}{around_letter}", word=f"{around_word}{word}{around_word}"
    )
    return question + "?" if source.random() < 0.5 else question


def spelled(word: str) -> str:
    """`word:w,o,r,d`: no spaces, so that each letter is the token it is inside a word."""
    return f"{word}:{','.join(word)}"


def _answer(word: str, letter: str) -> list[dict[str, str]]:
    count = 0
    lines = []
    for position, found in enumerate(word, 1):
        if found == letter:
            count += 1
            lines.append(f"{position}:{found} hit! count={count}\n")
        else:
            lines.append(f"{position}:{found}\n")
    by_hand = (
        f"The question is how many times '{letter}' occurs in '{word}'. "
        "I spell the word, then count by hand.\n\n"
        f"{spelled(word)}\n\n{''.join(lines)}\nBy hand I count {count}. A calculation checks it:\n\n"
    )
    return [
        text_part(by_hand),
        *tool_call(f"'{word}'.count('{letter}')", str(count)),
        text_part(f"\n\nThe calculation gives {count}.\n\n#### {count}"),
    ]


class SimpleSpelling(_Generated):
    """Spells a word. The words are in another order than SpellingBee's, so that equal seeds pick different
    ones."""

    def __init__(self, data: TaskData, request: Request) -> None:
        super().__init__(data, request)
        random.Random(_SHUFFLE_SEED).shuffle(self._words)

    def example(self, index: int) -> Conversation:
        word = random.Random(item_seed(self._split, index)).choice(self._words)
        return {"messages": [user(f"Spell the word: {word}"), assistant(spelled(word))]}

    def evaluate(self, conversation: Conversation, completion: str) -> bool:
        """Whether the word is spelled exactly so."""
        right: str = conversation["messages"][-1]["content"]
        return completion.strip() == right


SPECS = (
    TaskSpec(
        "SpellingBee",
        "how often a letter occurs in a word, with a calculator",
        ("test", "train"),
        SpellingBee,
    ),
    TaskSpec("SimpleSpelling", "the letters of a word", ("test", "train"), SimpleSpelling),
)
