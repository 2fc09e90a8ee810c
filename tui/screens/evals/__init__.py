"""The Evals screen: tables of scores, items, differences, curves."""


def load() -> None:
    """Loads what the screen opens, in a thread: imported when a cell is opened it would hold the loop."""
    import nanochat.evals.items
    import nanochat.evals.paired  # noqa: F401
    import tui.data.evals.launch_values
    import tui.screens.evals.curve
    import tui.screens.evals.difference
    import tui.screens.evals.evaluate
    import tui.screens.evals.item  # noqa: F401
