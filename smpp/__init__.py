"""The SMPP protocol, sans-I/O: PDUs and codec, session machine, alphabets, segments, receipts, times.

Invariants: nothing below this package reads a clock, a socket or a random number; `now` is an argument.
Deliberately not here: which message goes where (router), and anything that waits (gateway).
"""
