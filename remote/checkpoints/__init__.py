"""Checkpoints as the control room knows them: what a host tells, where they came from, tables of them."""
