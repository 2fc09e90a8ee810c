"""What runs inside the sandbox's process: it builds the walls around itself, then runs the program.

`nanochat.tools.sandbox` starts it; nothing here is imported by anything else. Standard library only, and
little of that, since it is loaded anew for every program.
"""
