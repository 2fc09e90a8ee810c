"""A machine with GPUs whose figures a test sets, through the real pynvml over the fake driver library."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


class Machine:
    """Eight GPUs whose figures a test sets; `env` makes a process see them."""

    def __init__(self, library: Path, settings: Path) -> None:
        self.settings = settings
        before = os.environ.get("LD_LIBRARY_PATH", "")
        self.env = {"LD_LIBRARY_PATH": f"{library}:{before}", "FAKE_NVML": str(settings)}
        self.set()

    def set(self, **settings: object) -> None:
        """Replaces the settings: `util_3=97` is the line `3.util=97`, `ecc__error_2=3` is `2.ecc.error=3`."""
        lines = []
        for name, value in settings.items():
            figure, _, index = name.rpartition("_")
            lines.append(
                f"{index}.{figure.replace('__', '.')}={value}" if index.isdigit() else f"{name}={value}"
            )
        temp = self.settings.with_suffix(".new")
        temp.write_text("\n".join(lines) + "\n")
        temp.replace(self.settings)

    def ask(self, script: str) -> Any:
        """What `script` prints as JSON, with `gpus` (retrying at once) and `machine.set` at hand."""
        head = (
            "import json, sys, time\n"
            "from pathlib import Path\n"
            "from remote.agent.telemetry.gpus import Gpus, PatientGpus\n"
            "gpus = Gpus(retry=0.0)\n"
            "def settings(*lines): Path(sys.argv[1]).write_text('\\n'.join(lines) + '\\n')\n"
            "def tell(value): print(json.dumps(value))\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", head + script, str(self.settings)],
            capture_output=True, text=True, timeout=60,
            env={**os.environ, **self.env, "PYTHONPATH": os.pathsep.join(sys.path)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def sample(self) -> dict[str, Any]:
        found: dict[str, Any] = self.ask("tell(gpus.sample(time.monotonic()))")
        return found
