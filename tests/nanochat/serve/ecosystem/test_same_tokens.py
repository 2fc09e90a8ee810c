"""The same seed gives the same answer whoever asks."""

import shutil

import pytest
from same_tokens import Asked, answers
from served import CHAT, Served

pytest.importorskip("tenacity", reason="needs lm_eval's models behind an API: pip install '.[test]'")


@pytest.mark.slow
def test_every_client_gets_the_engines_tokens(server: Served) -> None:
    found = answers(server.base, server.url, CHAT, Asked("the model reads?", seed=7, max_tokens=24))
    assert found.keys() >= {"the engine", "chat_cli", "chat_cli --url", "openai", "lm_eval"}
    assert ("curl" in found) == (shutil.which("curl") is not None)
    assert len(found["the engine"]) > 10
    assert found == dict.fromkeys(found, found["the engine"])
