"""Fetches the shards of a published set, several at a time, or the bundle of CORE; says how far it is."""

import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Protocol

from nanochat.common.errors import UserError
from nanochat.config.data_options import DataDownloadOptions
from nanochat.data.download import Policy, Stopped, Transfer
from nanochat.data.hub_client import warnings_to
from nanochat.data.hub_download import HubFile
from nanochat.data.published import PublishedSet, published_set
from nanochat.data.shards import shard_info, shard_name
from nanochat.evals.bundle import EVAL_BUNDLE, bundle_folder, read_bundle
from nanochat.evals.bundle_archive import bundle_url, check_archive, unpack_bundle
from nanochat.run.progress import Progress
from nanochat.run.stage_run import StageRun, StageStopped, main


def run(options: DataDownloadOptions, run: StageRun) -> dict[str, float | int | str]:
    """Fetches what is not there yet. Returns the figures of `stage_end`."""
    if options.mirror and not options.mirror.startswith(("http://", "https://")):
        raise UserError(f"--mirror {options.mirror} is no address", "it begins with https:// or http://")
    if options.dataset == EVAL_BUNDLE:
        return fetch_bundle(options, run)
    chosen = published_set(options.dataset)
    numbers = chosen.numbers(options.num_files)
    out = run.layout.resolve(options.out) if options.out else run.layout.base / chosen.folder
    run.start(total_steps=len(numbers), unit="files", info={"out": str(out), "dataset": chosen.name})
    fleet = Fetchers(run, options.num_workers)
    transfers = [_shard(chosen, number, out, options, fleet) for number in numbers]
    started = time.monotonic()
    with contextlib.nullcontext() if options.mirror else warnings_to(fleet.notes.put):
        fetched = fleet.fetch(transfers)
    seconds = time.monotonic() - started
    size = sum(transfer.target.stat().st_size for transfer in transfers)
    run.log(
        f"{len(numbers)} shards of {chosen.name} are in {out}, {size / 1e6:,.1f} MB "
        f"({fetched} fetched in {seconds:.1f} s, {len(numbers) - fetched} were there)"
    )
    run.metric(None, {"progress": 1.0, "eta_s": 0.0, "data/files": len(numbers), "data/bytes": size})
    return {
        "files": len(numbers),
        "fetched": fetched,
        "bytes": size,
        "seconds": round(seconds, 3),
        "path": str(out),
    }


class Download(Protocol):
    """A file on its way, from wherever: what `Fetchers` runs and tells of."""

    target: Path
    received: int
    size: int
    """Bytes; -1 until they are known."""

    def run(self) -> bool:
        """Fetches it; False when it was there."""
        ...


def _shard(
    chosen: PublishedSet, number: int, out: Path, options: DataDownloadOptions, fleet: "Fetchers"
) -> Download:
    """A shard from the hub, by its client, or from a mirror."""
    name, stop = shard_name(number), fleet.stopping.is_set
    policy = Policy(first_wait=options.retry_wait)
    if options.mirror:
        url = chosen.url(number, options.mirror)
        return Transfer(url, out / name, _check_shard, stop, policy, fleet.notes.put)
    return HubFile(chosen.dataset, name, out / name, _check_shard, stop, policy, fleet.notes.put)


def fetch_bundle(options: DataDownloadOptions, run: StageRun) -> dict[str, float | int | str]:
    """Downloads and unpacks the bundle of CORE, unless it is there and complete."""
    out = bundle_folder(run.layout, options.out)
    run.start(total_steps=1, unit="files", info={"out": str(out), "dataset": EVAL_BUNDLE})
    started = time.monotonic()
    fetched = not _is_bundle(out)
    if fetched:
        fleet = Fetchers(run, 1)
        archive = out.with_name(f"{out.name}.zip")
        transfer = Transfer(
            bundle_url(options.mirror),
            archive,
            check=check_archive,
            should_stop=fleet.stopping.is_set,
            policy=Policy(first_wait=options.retry_wait),
            note=fleet.notes.put,
        )
        fleet.fetch([transfer])
        try:
            unpack_bundle(archive, out)
        finally:
            archive.unlink()
    files = [path for path in out.rglob("*") if path.is_file()]
    size = sum(path.stat().st_size for path in files)
    run.log(
        f"the CORE bundle is in {out}, {size / 1e6:,.1f} MB " + ("(fetched)" if fetched else "(was there)")
    )
    run.metric(None, {"progress": 1.0, "eta_s": 0.0, "data/files": len(files), "data/bytes": size})
    return {
        "files": len(files),
        "fetched": int(fetched),
        "bytes": size,
        "seconds": round(time.monotonic() - started, 3),
        "path": str(out),
    }


def _is_bundle(folder: Path) -> bool:
    try:
        return bool(read_bundle(folder))
    except UserError:
        return False


def _check_shard(path: Path) -> None:
    """A shard that is there has a parquet footer and a text column; raises `UserError` otherwise."""
    shard_info(path)


class Fetchers:
    """Daemon threads that take transfers from one queue, watched by the stage's own thread.

    They are daemons because a read may hang for the whole timeout: a stop waits for them briefly and
    then leaves. What a `Transfer` wrote is a part that the next run goes on with.
    """

    LEAVE_AFTER = 2.0

    def __init__(self, run: StageRun, workers: int) -> None:
        self._run, self._workers = run, workers
        self.stopping = threading.Event()
        self.notes: SimpleQueue[str] = SimpleQueue()
        self._errors: list[BaseException] = []
        self._outcomes: list[bool] = []

    def fetch(self, transfers: Sequence[Download]) -> int:
        """Runs all transfers; returns how many were fetched. The first error ends the others."""
        queue: SimpleQueue[Download] = SimpleQueue()
        for transfer in transfers:
            queue.put(transfer)
        count = min(self._workers, len(transfers))
        threads = [
            threading.Thread(target=self._work, args=(queue,), name=f"download-{index}", daemon=True)
            for index in range(count)
        ]
        for thread in threads:
            thread.start()
        try:
            self._watch(threads, transfers)
        finally:
            self.stopping.set()
            deadline = time.monotonic() + self.LEAVE_AFTER
            for thread in threads:
                thread.join(max(0.0, deadline - time.monotonic()))
        if self._errors:
            raise self._errors[0]
        return sum(self._outcomes)

    def _work(self, queue: "SimpleQueue[Download]") -> None:
        while not self.stopping.is_set():
            try:
                self._outcomes.append(queue.get_nowait().run())
            except (Empty, Stopped):
                return
            except Exception as error:
                self._errors.append(error)
                self.stopping.set()
                return

    def _watch(self, threads: Sequence[threading.Thread], transfers: Sequence[Download]) -> None:
        report = _progress_report(transfers)
        with Progress(self._run, "downloading") as progress:
            while any(thread.is_alive() for thread in threads):
                if self._run.stop_requested:
                    raise StageStopped
                if self.stopping.is_set():
                    return
                while not self.notes.empty():
                    self._run.log(self.notes.get())
                if progress.due():
                    report(progress, len(self._outcomes))
                time.sleep(0.05)
        while not self.notes.empty():
            self._run.log(self.notes.get())


def _progress_report(transfers: Sequence[Download]) -> Callable[[Progress, int], None]:
    """Reports the fraction done in bytes; files not yet begun count as the mean size of the others."""
    started = time.monotonic()

    def report(progress: Progress, files: int) -> None:
        known = [transfer for transfer in transfers if transfer.size > 0]
        received = sum(transfer.received for transfer in transfers)
        expected = sum(transfer.size for transfer in known) / max(1, len(known)) * len(transfers)
        rate = received / 1e6 / max(1e-9, time.monotonic() - started)
        metrics = {"data/files": files, "data/bytes": received, "data/mb_per_sec": rate}
        progress.update(
            received / max(1.0, expected), metrics, f"{files} of {len(transfers)} files, {rate:.1f} MB/s"
        )

    return report


if __name__ == "__main__":
    raise SystemExit(main("data_download"))
