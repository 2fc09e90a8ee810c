"""The data of the Chat screen: panes, turn trees, votes and prompt sets. Knows no widget."""
