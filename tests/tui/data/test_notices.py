"""The user is notified of ends and alerts."""

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
