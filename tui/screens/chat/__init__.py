"""The Chat screen and its dialogs, one a file."""
