"""The user is notified of ends and alerts."""

from dataclasses import replace

from remote.runs import RunRow
from tui.data.notices import NotificationTracker


def test_ends_and_alerts_are_noticed_once_and_not_at_the_start() -> None:
    def run(status: str, alerts: int = 0) -> RunRow:
        times = {"started_at": 0.0, "ended_at": 192.0}
        return RunRow(
            "local/a",
            "local",
            "a",
            name="demo",
            status=status,
            alerts=alerts,
            latest={"val/bpb": 0.8},
            **times,
        )

    tracker = NotificationTracker()
    assert tracker.update([run("failed", 3)]) == []
    tracker = NotificationTracker()
    tracker.update([run("running")])
    assert [notice.severity for notice in tracker.update([run("running", 1)])] == ["warning"]
    (ended,) = tracker.update([run("succeeded", 1)])
    assert ended.severity == "information"
    assert "after 3m12s" in ended.text
    assert "bpb 0.8000" in ended.text
    assert tracker.update([run("succeeded", 1)]) == []


def test_a_run_whose_row_moves_to_the_host_where_it_runs_is_told_once() -> None:
    """Two hosts share a base directory: the run is first seen through the one, then on the other."""

    def run(host: str, alerts: int, status: str = "running") -> RunRow:
        return RunRow(f"{host}/a", host, "a", name="demo", status=status, alerts=alerts)

    tracker = NotificationTracker()
    tracker.update([])
    assert len(tracker.update([run("login", 2)])) == 1
    assert tracker.update([run("node", 2)]) == []
    assert [notice.text for notice in tracker.update([run("node", 3)])] == ["⚠ demo on node: 1 new alert(s)"]
    (ended,) = tracker.update([run("login", 3, "failed")])
    assert ended.severity == "error"
    assert tracker.update([run("node", 3, "failed")]) == []


def test_runs_of_one_id_on_two_hosts_are_two() -> None:
    tracker = NotificationTracker()
    rows = [RunRow(f"{host}/a", host, "a", name="demo", status="running") for host in ("one", "two")]
    tracker.update(rows)
    ended = replace(rows[1], status="succeeded")
    assert [notice.key for notice in tracker.update([rows[0], ended])] == ["two/a"]
    assert tracker.update([rows[0], ended]) == []
