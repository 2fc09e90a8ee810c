#!/usr/bin/env bash
# torch 2.15.0: making any optimizer loads the compiler, and importing FlexAttention all of sympy, compiled or not.
#
# `import torch` leaves torch._dynamo alone. `torch.optim.SGD(…)`, or any subclass of torch.optim.Optimizer, imports it and sympy
# when the object is made; `import torch.nn.attention.flex_attention` imports sympy. On a CPU where nothing is ever compiled that
# was 1.1 of the 2.7 s before a training's first step.
#
# Seen with Python 3.11, modules of torch._dynamo and of sympy: import torch 0, 0 · an optimizer 97, 420 · FlexAttention 0, 419
set -euo pipefail
folder=$(mktemp -d); trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check torch==2.15.0 numpy
cat >"$folder/try.py" <<'PY'
import subprocess
import sys

COUNT = """
import sys
print(*(sum(module.split(".")[: len(name)] == name for module in sys.modules) for name in (["torch", "_dynamo"], ["sympy"])))
"""
CASES = {
    "import torch": "import torch",
    "an optimizer": "import torch; torch.optim.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1)",
    "FlexAttention": "import torch.nn.attention.flex_attention",
}
seen = {}
for name, code in CASES.items():
    done = subprocess.run([sys.executable, "-c", code + COUNT], check=True, capture_output=True, text=True)
    seen[name] = [int(word) for word in done.stdout.split()]
    print(f"{name}: {seen[name][0]} modules of torch._dynamo, {seen[name][1]} of sympy")
assert seen["import torch"] == [0, 0], seen
assert min(seen["an optimizer"]) > 50 and seen["FlexAttention"][1] > 50, seen
PY
"$folder/venv/bin/python" "$folder/try.py"
