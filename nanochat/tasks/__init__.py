"""Tasks: conversations to train on and to evaluate with. docs/tasks.md shows how to add one."""

from nanochat.tasks.base import Conversation, Task
from nanochat.tasks.registry import Request, TaskData, TaskSpec, make_task, task_spec, task_specs

__all__ = [
    "Conversation",
    "Request",
    "Task",
    "TaskData",
    "TaskSpec",
    "make_task",
    "task_spec",
    "task_specs",
]
