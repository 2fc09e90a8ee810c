"""Options of stages and commands, their command lines, and plans of several stages."""
