"""The names of the themes, for `--theme`: themes.py itself loads Textual."""

THEME_NAMES = ("dark", "light", "contrast")
