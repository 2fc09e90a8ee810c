"""How many programs a second the sandbox runs, at each level of this machine. Prints a table."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from nanochat.common.errors import UserError
from nanochat.tools.sandbox import LEVELS, run_programs

PROGRAMS = 60
WORKERS = 2


def main() -> None:
    programs = [f"assert sorted([3, 1, {i}])[0] <= 1" for i in range(PROGRAMS)]
    print(f"{'level':<12}{'programs/s':>12}   {WORKERS} at a time")
    for level in LEVELS:
        started = time.perf_counter()
        try:
            results = run_programs(programs, workers=WORKERS, level=level, unsafe=True)
        except UserError as error:
            print(f"{level:<12}{'-':>12}   {error}")
            continue
        rate = PROGRAMS / (time.perf_counter() - started)
        failed = sum(not result.success for result in results)
        print(f"{level:<12}{rate:>12.1f}" + (f"   {failed} failed" if failed else ""))


if __name__ == "__main__":
    main()
