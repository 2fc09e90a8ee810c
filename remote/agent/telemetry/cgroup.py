"""Limits and usage of the control group this process runs in, version 2 or 1."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

UNLIMITED = 1 << 60


class Cgroup:
    """The groups from our own up to the root: the tightest limit on the way is the one that holds."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.mount = root / "sys/fs/cgroup"
        self._paths = _own_paths(root / "proc/self/cgroup")
        self.unified = "" in self._paths and (self.mount / "cgroup.controllers").exists()

    def cpu_quota(self) -> float | None:
        """Processors allowed by the CPU quota, None without one."""
        quotas = []
        for folder in self._folders("cpu"):
            if self.unified:
                words = _words(folder / "cpu.max")
                pair = words if len(words) == 2 else ["max", "0"]
            else:
                pair = [*_words(folder / "cpu.cfs_quota_us"), *_words(folder / "cpu.cfs_period_us")]
            if len(pair) == 2 and pair[0].isdigit() and pair[1].isdigit() and int(pair[1]) > 0:
                quotas.append(int(pair[0]) / int(pair[1]))
        return min(quotas) if quotas else None

    def cpu_seconds(self) -> float | None:
        """Processor seconds that the group has used."""
        for folder in self._folders("cpu" if self.unified else "cpuacct"):
            if self.unified:
                usage = _table(folder / "cpu.stat").get("usage_usec")
                return None if usage is None else usage / 1e6
            value = _number(folder / "cpuacct.usage")
            return None if value is None else value / 1e9
        return None

    def memory_limit(self) -> int | None:
        """The tightest memory limit in bytes, None without one."""
        found = self._tightest_memory()
        return found[0] if found else None

    def memory_used(self) -> int | None:
        """Bytes used in the group that limits us, without the file cache that can be dropped at once."""
        found = self._tightest_memory()
        if found is None:
            return None
        folder = found[1]
        used = _number(folder / ("memory.current" if self.unified else "memory.usage_in_bytes"))
        if used is None:
            return None
        name = "inactive_file" if self.unified else "total_inactive_file"
        return max(0, used - _table(folder / "memory.stat").get(name, 0))

    def root_is_limited(self) -> bool:
        """True when even the topmost group we see has a parent: the real root has no such files."""
        return self.unified and (self.mount / "memory.max").exists()

    def _tightest_memory(self) -> tuple[int, Path] | None:
        name = "memory.max" if self.unified else "memory.limit_in_bytes"
        limits = []
        for folder in self._folders("memory"):
            limit = _number(folder / name)
            if limit is not None and limit < UNLIMITED:
                limits.append((limit, folder))
        return min(limits, key=lambda pair: pair[0]) if limits else None

    def _folders(self, controller: str) -> list[Path]:
        """Our group's folder and those above it, innermost first. A path from outside may not exist here."""
        top = self.mount if self.unified else self.mount / controller
        own = self._paths.get("" if self.unified else controller)
        if own is None:
            return []
        parts = [part for part in PurePosixPath(own).parts if part not in ("/", "..")]
        chain = [top.joinpath(*parts[:depth]) for depth in range(len(parts), -1, -1)]
        return [folder for folder in chain if folder.is_dir()]


def _own_paths(path: Path) -> dict[str, str]:
    """Controller name → path of our group; "" names the unified hierarchy."""
    found = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            _, names, group = line.split(":", 2)
            for name in names.split(","):
                found[name] = group
    except (OSError, ValueError):
        pass
    return found


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").split()
    except OSError:
        return []


def _number(path: Path) -> int | None:
    words = _words(path)
    return int(words[0]) if len(words) == 1 and words[0].isdigit() else None


def _table(path: Path) -> dict[str, int]:
    words = _words(path)
    pairs = [(words[i], words[i + 1]) for i in range(0, len(words) - 1, 2)]
    return {name: int(value) for name, value in pairs if value.isdigit()}
