"""Where and how a stage runs: hosts, transports, the agent, the store, following and plan execution.

Knows no screen and imports no torch; `import remote` alone loads nothing heavy (asyncssh comes with the
first SSH connection).
"""
