"""Configurations of other gateways, read and turned into ours.

A reader for each (kannel.py, jasmin.py) gives a `Found`: what our file is to say, which accounts to make, and
line by line what has no counterpart here, with what to do about it. Nothing is left out in silence.
"""
