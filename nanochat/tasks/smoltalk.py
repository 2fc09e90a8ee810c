"""SmolTalk, conversations on everything, in the version for small models (arXiv 2502.02737)."""

from nanochat.common.errors import UserError
from nanochat.tasks.base import Conversation, HubTask
from nanochat.tasks.hub import HubSet
from nanochat.tasks.registry import Request, TaskData, TaskSpec
from nanochat.tokenizer.conversation import check_conversation


class SmolTalk(HubTask):
    """Conversations of two messages and more, some with a system message first."""

    def __init__(self, data: TaskData, request: Request) -> None:
        wanted = HubSet("HuggingFaceTB/smol-smoltalk", "default", request.split, ("messages",))
        super().__init__(data.hub, wanted, request.start, request.stop, request.step)

    def example(self, index: int) -> Conversation:
        rows = self.rows[index]["messages"]
        messages = [{"role": message["role"], "content": message["content"]} for message in rows]
        try:
            turns = check_conversation(messages)
        except UserError as error:
            raise UserError(f"SmolTalk item {index}: {error.message}") from error
        if len(turns) < 2:
            raise UserError(f"SmolTalk item {index}: there is no answer")
        return {"messages": messages}


SPECS = (TaskSpec("SmolTalk", "conversations on everything, for training", ("test", "train"), SmolTalk),)
