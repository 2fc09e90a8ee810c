"""Fixtures of the remote room: a real sshd, an empty home, the agent over a base directory."""

from agenthost import agent, pyz
from sshd import home, known_sshd, sshd

__all__ = ["agent", "home", "known_sshd", "pyz", "sshd"]
