#!/usr/bin/env bash
# transformers 5.24.0: a model of older code, which takes `past_key_values`, generates from the last token alone, without an error.
#
# 5.24 passes the cache as `cache`. Its own models take the old name too, and outputs rename it, "for BC on all the remote code" as
# utils/generic.py says; the argument is not renamed. A forward with **kwargs, as much custom code has, takes `cache` unseen, begins
# with an empty one at each step, and is given one token a step. All that is said is that the old name is deprecated. (Without
# **kwargs it is a TypeError.) use_cache=False gives the right text, and so does 5.23.0 with the same folder.
#
# Seen with Python 3.11, how many tokens the model sees at each step:
# 5.23.0 [4, 5, 6, 7, 8, 9] · 5.24.0 [4, 1, 1, 1, 1, 1], other text · 5.24.0 with use_cache=False [4, 5, 6, 7, 8, 9]
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
export HF_HOME="$folder/hf" HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.15.0 numpy transformers==5.23.0
cat >"$folder/modeling_older.py" <<'PY'
from torch import nn
from transformers import DynamicCache, GenerationMixin, PretrainedConfig, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast


class OlderConfig(PretrainedConfig):
    model_type = "older"

    def __init__(self, vocab_size=64, hidden_size=16, num_hidden_layers=1, **kwargs):
        self.vocab_size, self.hidden_size, self.num_hidden_layers = vocab_size, hidden_size, num_hidden_layers
        super().__init__(**kwargs)


class OlderModel(PreTrainedModel, GenerationMixin):
    """Scores the sum of all embeddings so far: a cache is right when it changes nothing."""

    config_class = OlderConfig

    def __init__(self, config):
        super().__init__(config)
        self.embed = nn.Embedding(config.vocab_size, config.hidden_size)
        self.head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.seen = []
        self.post_init()

    def forward(self, input_ids=None, attention_mask=None, past_key_values=None, use_cache=None, **kwargs):
        x = self.embed(input_ids)[:, None]  # (1, 1 head, T, C)
        if use_cache:
            past_key_values = DynamicCache() if past_key_values is None else past_key_values
            x, _ = past_key_values.update(x, x, 0)
        self.seen.append(x.size(2))
        sums = x.cumsum(2)[:, 0, -input_ids.size(1) :]
        return CausalLMOutputWithPast(logits=self.head(sums), past_key_values=past_key_values)
PY
cat >"$folder/try.py" <<'PY'
import sys
from pathlib import Path

import torch
import transformers
from modeling_older import OlderConfig, OlderModel

folder = Path(__file__).parent / "model"
if not folder.exists():
    torch.manual_seed(0)
    OlderConfig.register_for_auto_class()
    OlderModel.register_for_auto_class("AutoModelForCausalLM")
    OlderModel(OlderConfig()).save_pretrained(folder)
model = transformers.AutoModelForCausalLM.from_pretrained(folder, trust_remote_code=True).eval()
texts, reads = [], []
for use_cache in (True, False):
    model.seen.clear()
    ids = model.generate(torch.tensor([[1, 2, 3, 4]]), max_new_tokens=6, do_sample=False, use_cache=use_cache)
    texts.append(ids[0, 4:].tolist())
    reads.append(list(model.seen))
    print(f"{transformers.__version__}, use_cache={use_cache}: text {texts[-1]}, tokens seen {reads[-1]}")
whole = [4, 5, 6, 7, 8, 9]
lost = [4, 1, 1, 1, 1, 1]
assert reads == [lost if sys.argv[1] == "lost" else whole, whole], reads
assert (texts[0] == texts[1]) == (sys.argv[1] == "whole"), texts
PY
"$folder/venv/bin/python" "$folder/try.py" whole
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check transformers==5.24.0
"$folder/venv/bin/python" "$folder/try.py" lost
