"""What runs inside the sandbox's process: it confines itself, then runs the program.

`nanochat.tools.sandbox` starts it; nothing else imports it. Standard library only, and little of that, since
it is imported again for every program.
"""
