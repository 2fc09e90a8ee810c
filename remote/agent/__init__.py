"""The agent: what the control room puts on a host to start, watch and stop stages there.

It travels as one zipapp and runs under the host's own Python, 3.8 or newer, with nothing installed: only
the standard library and NVIDIA's `pynvml` module, which the zipapp carries. `docs/agent.md` says what it
promises. Run as `python -m remote.agent` it is the same program from the source tree.
"""
