"""Short ways to read a configuration in a test."""

from __future__ import annotations

from config.load import parse
from config.model import Config
from config.problems import ConfigErrors, Problem

CARRIER = """
[[carriers]]
name = "north"
host = "192.0.2.10"
system_id = "signalbox"
"""
ROUTE = """
[[routes]]
name = "default"
lane = ["north"]
"""
GOOD = CARRIER + ROUTE


def read(source: str, **env: str) -> Config:
    return parse(source, "/etc/signalbox/my.toml", env)


def problems(source: str, **env: str) -> list[Problem]:
    """What is wrong with it; [] when nothing is."""
    try:
        read(source, **env)
    except ConfigErrors as errors:
        return errors.problems
    return []


def only(source: str, **env: str) -> Problem:
    found = problems(source, **env)
    assert len(found) == 1, [str(each) for each in found]
    return found[0]
