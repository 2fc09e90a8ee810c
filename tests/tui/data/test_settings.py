"""Settings are kept between starts."""

from nanochat.common.paths import Layout
from tui.data.settings import Settings


def test_settings_survive_and_a_damaged_file_counts_as_empty(layout: Layout) -> None:
    Settings(layout).set("theme", "light")
    assert Settings(layout).get("theme") == "light"
    (layout.base / "control-room.json").write_text("{half")
    assert Settings(layout).get("theme", "dark") == "dark"
