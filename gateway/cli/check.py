"""`signalbox check`: whether a configuration is right, before anything is started with it; and whether
messages go where its `[[expect]]` tables say.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gateway.admin_client import AdminAbsent
from gateway.cli.failure import CONFIG, Failure
from gateway.cli.output import counted, print_json
from gateway.cli.place import SHIPPED, Place, json_option, load_config, problems_text

if TYPE_CHECKING:
    from config.load import Problem
    from config.model import Config

_LISTED = 20
_PATIENCE_S = 3.0


@click.command()
@click.option(
    "--config",
    "config_path",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="SIGNALBOX_CONFIG",
    help="Configuration file.  [default: the shipped config/gateway.toml]",
)
@json_option
def check(config_path: Path | None, as_json: bool) -> int:
    """Validate a configuration: every error and warning at once, with file, line and a hint.

    Then ask its routes for every `[[expect]]`, and say which go elsewhere, and why.
    """
    path = config_path or SHIPPED
    if as_json:
        return check_as_json(path)
    config = load_config(path)
    failing = expectations_failing(config)
    if failing:
        raise Failure(problems_text(path, failing, "failed expectation"), exit_code=CONFIG)
    warned = f", with {counted(len(config.warnings), 'warning')}" if config.warnings else ""
    click.echo(f"{path}: fine{warned}")
    for line in summary(config):
        click.echo(f"  {line}")
    for line in in_force(path):
        click.echo(f"  {line}")
    return 0


def in_force(path: Path) -> list[str]:
    """What the gateway that runs with this file has in force instead of it, if one answers."""
    try:
        running = Place(path).ask_running("ping", timeout_s=_PATIENCE_S)["config"]
    except (AdminAbsent, Failure):
        return []
    if running["file"] != str(path.absolute()) or not running["differs_from_file"]:
        return []
    return [f"not what is in force now: {running['differs_from_file']}; `signalbox reload` applies it"]


def check_as_json(path: Path) -> int:
    from config.load import ConfigErrors, load

    problems: list[dict[str, object]] = []
    warnings: list[dict[str, object]] = []
    failing: list[dict[str, object]] = []
    try:
        config = load(path)
        warnings = [as_object(warning) for warning in config.warnings]
        failing = [as_object(problem) for problem in expectations_failing(config)]
    except ConfigErrors as errors:
        problems = [as_object(problem) for problem in errors.problems]
    except OSError as error:
        problems = [{"file": str(path), "line": 0, "key": "", "message": str(error.strerror), "hint": ""}]
    print_json(
        {
            "file": str(path),
            "valid": not problems,
            "problems": problems,
            "warnings": warnings,
            "expectations_failing": failing,
        }
    )
    return CONFIG if problems or failing else 0


def expectations_failing(config: Config) -> list[Problem]:
    """What `[[expect]]` says and the routes do not."""
    from config.expect import failures
    from router.knowledge import PLAIN

    return failures(config, time.time_ns() // 1_000_000, PLAIN)


def as_object(problem: Problem) -> dict[str, object]:
    return {
        "file": problem.file,
        "line": problem.line,
        "key": problem.key,
        "message": problem.message,
        "hint": problem.hint,
    }


def summary(config: Config) -> list[str]:
    """What the gateway would do with it, in a few lines."""
    return [
        f"data in {config.gateway.data_dir}",
        f"HTTP on {', '.join(str(address) for address in config.http.listen)}",
        f"carriers: {listed(carrier.name for carrier in config.carriers)}",
        f"routes: {listed(route.name for route in config.routes)}",
        *([f"expectations: all {len(config.expect)} hold"] if config.expect else []),
        f"a crash can send at most {config.possible_duplicates:,} segments twice "
        "(carriers x sessions x window)",
        *(f"warning: {warning}" for warning in config.warnings),
    ]


def listed(names: Iterable[str]) -> str:
    """The first names, and how many more there are."""
    known = list(names)
    more = f" and {len(known) - _LISTED:,} more" if len(known) > _LISTED else ""
    return ", ".join(known[:_LISTED]) + more or "none"
