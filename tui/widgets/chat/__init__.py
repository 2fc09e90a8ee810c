"""The widgets of the Chat screen, one a file."""
