"""Where a gateway lives: which configuration, which data directory. And how to ask it something.

`ask` calls a verb of the running gateway; when none runs it opens the store itself and runs the same verb
there. Which of the two happened makes no difference to what is printed.

Deliberately not here: any verb, any printing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from gateway.admin_client import SOCKET_NAME, AdminAbsent, AdminBroken, AdminClient, AdminError
from gateway.cli.failure import CONFIG, FAILED, UNREACHABLE, USAGE, Failure

if TYPE_CHECKING:
    from config.load import Problem
    from config.model import Config

SHIPPED = Path(__file__).resolve().parent.parent.parent / "config" / "gateway.toml"
Command = TypeVar("Command", bound=Callable[..., Any])


class Place:
    """One configuration file and one data directory; either may be the default."""

    def __init__(
        self, config_path: Path | None = None, data_dir: Path | None = None, reason: str = ""
    ) -> None:
        """`reason`: what somebody who changes something says about it."""
        self.reason = reason
        self.was_given = config_path is not None
        self.config_path = config_path or SHIPPED
        self.given_data_dir = data_dir

    @functools.cached_property
    def config(self) -> Config:
        """The configuration, valid. Raises Failure with every problem in it."""
        return load_config(self.config_path)

    @property
    def data_dir(self) -> Path:
        """--data-dir, else what the configuration says."""
        return self.given_data_dir or self.config.gateway.data_dir

    @property
    def socket(self) -> Path:
        return self.data_dir / SOCKET_NAME

    def ask(self, verb: str, /, *, timeout_s: float | None = None, **args: Any) -> Any:
        """The verb's result from the running gateway, or from the store of a stopped one. Raises Failure."""
        try:
            return self.ask_running(verb, timeout_s=timeout_s, **args)
        except AdminAbsent:
            from gateway.cli.offline import ask_stopped

            return ask_stopped(self, verb, args)

    def ask_running(self, verb: str, /, *, timeout_s: float | None = None, **args: Any) -> Any:
        """The verb's result from the running gateway. Raises AdminAbsent when none runs, else Failure."""
        try:
            return AdminClient(self.socket, reason=self.reason).call(verb, timeout_s=timeout_s, **args)
        except AdminError as error:
            raise refused(error) from None
        except AdminBroken as error:
            raise Failure(str(error), exit_code=UNREACHABLE) from None

    def is_running(self) -> bool:
        """Whether a gateway answers on the admin socket."""
        try:
            self.ask_running("ping", timeout_s=5)
        except AdminAbsent:
            return False
        return True


def refused(error: AdminError) -> Failure:
    """A verb's refusal as a command's failure."""
    codes = {"bad_arguments": USAGE, "bad_config": CONFIG}
    return Failure(error.message, error.hint, codes.get(error.code, FAILED))


def load_config(path: Path) -> Config:
    """Raises Failure listing every problem with its line and hint."""
    from config.load import ConfigErrors, load

    try:
        return load(path)
    except ConfigErrors as errors:
        raise Failure(problems_text(path, errors.problems), exit_code=CONFIG) from None
    except OSError as error:
        raise Failure(f"cannot read {path}: {error.strerror}", "give --config FILE", CONFIG) from None


def problems_text(path: Path, problems: Sequence[Problem], noun: str = "problem") -> str:
    """`file:line: key: message` and the hint below, one problem after the other."""
    lines = [f"{path} has {len(problems)} {noun}{'' if len(problems) == 1 else 's'}"]
    for problem in problems:
        where = f"{problem.file}:{problem.line}" if problem.line else str(problem.file)
        key = f"{problem.key}: " if problem.key else ""
        lines.append(f"  {where}: {key}{problem.message}")
        if problem.hint:
            lines.append(f"      {problem.hint}")
    return "\n".join(lines)


def place_options(command: Command) -> Command:
    """--config and --data-dir, handed to the command as one `place`; with `reason_option` its reason, too."""

    @click.option(
        "--config",
        "config_path",
        type=click.Path(path_type=Path, dir_okay=False),
        envvar="SIGNALBOX_CONFIG",
        help="Configuration file.  [default: the shipped config/gateway.toml]",
    )
    @click.option(
        "--data-dir",
        type=click.Path(path_type=Path, file_okay=False),
        envvar="SIGNALBOX_DATA_DIR",
        help="Where the store and the admin socket are.  [default: what the configuration says]",
    )
    @functools.wraps(command)
    def with_place(
        *args: Any, config_path: Path | None, data_dir: Path | None, because: str = "", **kwargs: Any
    ) -> Any:
        return command(*args, place=Place(config_path, data_dir, because), **kwargs)

    return with_place  # type: ignore[return-value]


def acting_options(command: Command) -> Command:
    """place_options of a command that changes something, and --reason: why, for the audit trail."""
    return _reason_option("--reason")(place_options(command))


def releasing_options(command: Command) -> Command:
    """The same for a command whose --reason is another one: --because."""
    return _reason_option("--because")(place_options(command))


def _reason_option(flag: str) -> Callable[[Command], Command]:
    return click.option(flag, "because", default="", metavar="TEXT", help="Why; kept in the audit trail.")


def json_option(command: Command) -> Command:
    """--json: one JSON value on stdout, for programs."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")(command)


def limit_option(command: Command) -> Command:
    """--limit N: how many rows at most."""
    kind = click.IntRange(1, 10_000)
    return click.option("--limit", type=kind, default=100, show_default=True, help="How many at most.")(
        command
    )


def text_option(command: Command) -> Command:
    """--text: texts of messages are shown only to somebody who asks for them."""
    return click.option("--text", "with_text", is_flag=True, help="Show what they say, too.")(command)
