"""What every engine of `store.interface` must do, told only in verbs of the interface.

An engine joins by a line in engines.py. Each test runs twice: on a store that stays open, and on one that is
closed and opened again after every commit that leaves nothing in a carrier's hands. Each ends with the
conservation law and with `check`.

Deliberately not here: LMDB's files, pages and formats (tests/store), power cuts and kills (tests/crash).
"""
