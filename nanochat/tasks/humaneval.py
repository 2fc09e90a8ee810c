"""HumanEval: functions to write from their docstring, scored by running their tests (arXiv 2107.03374)."""

import re
from collections.abc import Sequence

from nanochat.tasks.base import Conversation, HubTask, assistant, user
from nanochat.tasks.hub import HubSet
from nanochat.tasks.registry import Request, TaskData, TaskSpec
from nanochat.tools.sandbox import choose_level, run_program, run_programs

_CODE_BLOCK = re.compile(r"```(?:python)?\s*\n(.*?)\n```", re.DOTALL)


class HumanEval(HubTask):
    """`unsafe` allows running without a sandbox. Evaluating raises `UserError` where none is available."""

    eval_type = "generative"

    def __init__(self, data: TaskData, request: Request) -> None:
        columns = ("prompt", "canonical_solution", "entry_point", "test")
        wanted = HubSet("openai/openai_humaneval", "openai_humaneval", request.split, columns)
        super().__init__(data.hub, wanted, request.start, request.stop, request.step)
        self.unsafe = False

    def example(self, index: int) -> Conversation:
        row = self.rows[index]
        prompt = row["prompt"]
        return {
            "messages": [user(prompt), assistant(f"{prompt}\n{row['canonical_solution']}")],
            "entry_point": row["entry_point"],
            "test": row["test"],
        }

    def evaluate(self, conversation: Conversation, completion: str) -> bool:
        """Whether the completion's program passes the item's tests in the sandbox."""
        return run_program(assemble(conversation, completion), unsafe=self.unsafe).success

    def evaluate_all(self, conversations: Sequence[Conversation], completions: Sequence[str]) -> list[bool]:
        """`evaluate` for each pair, as many at a time as there are cores."""
        choose_level(unsafe=self.unsafe)
        pairs = zip(conversations, completions, strict=True)
        programs = [assemble(conversation, completion) for conversation, completion in pairs]
        return [result.success for result in run_programs(programs, unsafe=self.unsafe)]


def assemble(conversation: Conversation, completion: str) -> str:
    """The program that is run: the prompt's imports, the completion's code, the tests, and their call."""
    imports = leading_imports(conversation["messages"][0]["content"])
    code = first_code_block(completion)
    return f"{imports}\n\n{code}\n\n{conversation['test']}\ncheck({conversation['entry_point']})"


def leading_imports(prompt: str) -> str:
    """The import lines at the start of `prompt`, up to its first line that is no import, comment or blank."""
    found = []
    for line in map(str.strip, prompt.split("\n")):
        if line.startswith(("import ", "from ")):
            found.append(line)
        elif line and not line.startswith("#"):
            break
    return "\n".join(found)


def first_code_block(completion: str) -> str:
    """The first block fenced as ``` or ```python, else the whole completion; stripped."""
    match = _CODE_BLOCK.search(completion)
    return (match[1] if match else completion).strip()


SPECS = (TaskSpec("HumanEval", "Python functions, scored by their tests in a sandbox", ("test",), HumanEval),)
