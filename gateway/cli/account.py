"""`signalbox account`: customers, their settings, keys and logins. On a running gateway and on a stopped one.

The options of `create` and `set` are the table in gateway.account_settings. An API key, a callback secret and
a password made here are printed once; the store keeps only hashes of keys and passwords, and SMPP passwords
are hashed here, before they go anywhere.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from gateway.account_settings import BY_NAME, SETTINGS, Setting
from gateway.cli.acting import Span, act, act_options, for_option
from gateway.cli.failure import USAGE, Failure
from gateway.cli.output import account_state, print_json, print_pairs, print_table
from gateway.cli.place import Place, acting_options, json_option, limit_option, place_options

Command = TypeVar("Command", bound=Callable[..., Any])

_SPELLINGS = {"numbers": ("--number", "--numbers")}
_GENERATED = "generated"
_PASSWORD_HELP = 'Up to 8 characters; "-" asks for it, "generated" makes one and prints it once.'
_APP_PASSWORD_HELP = 'Up to 128 characters; "-" asks for it, "generated" makes one and prints it once.'


@click.group()
def account() -> None:
    """Create, show, change accounts; rotate API keys; logins for SMPP."""


def setting_options(command: Command) -> Command:
    """An option for each setting, handed to the command as **settings; what is not given is None or ()."""
    for setting in reversed(SETTINGS):
        command = _option(setting)(command)
    return command


def _option(setting: Setting) -> Callable[[Command], Command]:
    flag = setting.name.replace("_", "-")
    kind = setting.kind
    none = f' "" or 0: {setting.none}.' if setting.none else ""
    if kind.shape == "yes_no":
        return click.option(f"--{flag}/--no-{flag}", setting.name, default=None, help=setting.help)
    several = {
        "many": " Repeatable, or with commas; replaces the whole list.",
        "pairs": " Repeatable; replaces all of them.",
    }.get(kind.shape, "")
    allowed = kind.allowed[0].upper() + kind.allowed[1:] + ('; "-" asks for it' if setting.secret else "")
    return click.option(
        *_SPELLINGS.get(setting.name, (f"--{flag}",)),
        setting.name,
        multiple=bool(several),
        help=f"{setting.help} {allowed}.{none}{several}",
    )


def given_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """As JSON values; those that were not given are left out."""
    return {
        name: value
        if isinstance(value, bool)
        else BY_NAME[name].from_texts((_asked(name, value),) if isinstance(value, str) else value)
        for name, value in settings.items()
        if value is not None and value != ()
    }


def _asked(name: str, text: str) -> str:
    """A secret need not be on the command line, where others of this machine see it."""
    if text == "-" and BY_NAME[name].secret:
        return str(click.prompt(name, hide_input=True, err=True))
    return text


@account.command()
@click.argument("name")
@click.option("--system-id", default="", help="For SMPP binds; needs --password.")
@click.option("--password", default="", help=f"For SMPP binds. {_PASSWORD_HELP}")
@setting_options
@acting_options
@json_option
def create(name: str, system_id: str, password: str, place: Place, as_json: bool, **settings: Any) -> None:
    """Make the account NAME and print its API key, this once."""
    chosen = _password(password) if password else ""
    made = place.ask(
        "account.create",
        name=name,
        system_id=system_id,
        password_hash=password_hash(chosen) if chosen else "",
        **given_settings(settings),
    )
    _add_generated(made, password, chosen)
    print_made(made, as_json)


@account.command()
@click.argument("name")
@click.option("--drop-previous", is_flag=True, help="The previous key stops working at once.")
@acting_options
@json_option
def rotate(name: str, drop_previous: bool, place: Place, as_json: bool) -> None:
    """Give NAME a new API key; the previous one works until the next rotation."""
    print_made(place.ask("account.rotate", name=name, keep_previous=not drop_previous), as_json)


@account.command("rotate-callback-secret")
@click.argument("name")
@click.option(
    "--overlap", type=Span(), default=86_400.0, metavar="TIME", help="As 30m or 24h; 0: the old one ends now."
)
@acting_options
@json_option
def rotate_callback_secret(name: str, overlap: float, place: Place, as_json: bool) -> None:
    """Give NAME a new secret for its callbacks; the old one signs, too, while they overlap.

    Formats with room for one signature (twilio, vonage) are signed with the old one until it ends.
    """
    made = place.ask("account.rotate_callback_secret", name=name, overlap_s=overlap)
    if as_json:
        print_json(made)
        return
    click.echo(f"The new callback secret, shown this once: {made['callback_secret']}")
    until = made["callback_secrets_until"]
    click.echo(f"The old one signs, too, until {until}." if until else "The old one signs no more.")


@account.command("set")
@click.argument("name")
@setting_options
@click.option("--suspend/--resume", "suspended", default=None, help="Refuse its submits, or take them again.")
@acting_options
@json_option
def change(name: str, suspended: bool | None, place: Place, as_json: bool, **settings: Any) -> None:
    """Change settings of NAME; what is not given stays."""
    given = given_settings(settings)
    if suspended is not None:
        given["suspended"] = suspended
    if not given:
        raise Failure("nothing to change", "signalbox account set --help lists the settings", USAGE)
    print_account(place.ask("account.set", name=name, **given), as_json)


@account.command()
@click.argument("name")
@for_option
@act_options
def suspend(name: str, for_s: float, preview: bool, place: Place, as_json: bool) -> None:
    """Unbind NAME and refuse its binds and submits until `resume`; what it has queued waits."""
    view = act(
        place,
        "account.suspend",
        preview=preview,
        as_json=as_json,
        name=name,
        for_s=for_s,
    )
    if view is not None:
        print_account(view, as_json)


@account.command()
@click.argument("name")
@act_options
def resume(name: str, preview: bool, place: Place, as_json: bool) -> None:
    """Take binds and submits of NAME again, and send what it has queued."""
    view = act(place, "account.resume", preview=preview, as_json=as_json, name=name)
    if view is not None:
        print_account(view, as_json)


@account.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@acting_options
@json_option
def close(name: str, yes: bool, place: Place, as_json: bool) -> None:
    """Close NAME for good: it never binds or submits again.

    What it has queued is still sent, and its messages can be looked up. Its name, ids and system_ids stay
    taken; its inbound numbers and keywords are free for another account.
    """
    if not yes:
        click.confirm(f"Close the account {name} for good?", abort=True, err=True)
    print_account(place.ask("account.close", name=name), as_json)


@account.command()
@click.argument("name")
@place_options
@json_option
def show(name: str, place: Place, as_json: bool) -> None:
    """Settings of the account NAME."""
    print_account(place.ask("account.show", name=name), as_json)


@account.command("list")
@place_options
@json_option
def list_accounts(place: Place, as_json: bool) -> None:
    """All accounts."""
    accounts = place.ask("account.list")
    if as_json:
        print_json(accounts)
    elif not accounts:
        click.echo("No accounts yet. Make one: signalbox account create NAME")
    else:
        rows = [
            (a["name"], account_state(a), a["queued"], ", ".join(a["key_prefixes"]), a["callback_url"])
            for a in accounts
        ]
        print_table(("NAME", "STATE", "QUEUED", "KEYS", "CALLBACK"), rows)


# money


@account.command(context_settings={"ignore_unknown_options": True})  # -12.50 is none
@click.argument("name")
@click.argument("amount")
@acting_options
@json_option
def credit(name: str, amount: str, place: Place, as_json: bool) -> None:
    """Put AMOUNT into the account NAME, such as 250.00; a negative one takes it out.

    --reason is needed: it is what the ledger and the audit trail say.
    """
    row = place.ask("account.credit", name=name, amount=amount, reason=place.reason)
    if as_json:
        print_json(row)
    else:
        click.echo(f"{row['amount']} {row['currency']} booked; the balance is {row['balance']}")


@account.command()
@click.argument("name")
@place_options
@json_option
def balance(name: str, place: Place, as_json: bool) -> None:
    """What NAME has, what is reserved for messages under way, and what of its caps is used."""
    view = place.ask("account.balance", name=name)
    if as_json:
        print_json(view)
        return
    day, month = view.pop("day"), view.pop("month")
    shown = {key: value for key, value in view.items() if value is not None}
    for what, used in (("today", day), ("this_month", month)):
        of_cap = f" of {used['cap']}" if used["cap"] else ""
        of_quota = f" of {used['quota']:,}" if used["quota"] else ""
        shown[what] = f"{used['spent']}{of_cap}, {used['messages']:,}{of_quota} messages"
    print_pairs(shown)


@account.command()
@click.argument("name")
@limit_option
@place_options
@json_option
def ledger(name: str, limit: int, place: Place, as_json: bool) -> None:
    """What was put into NAME and taken out, newest first."""
    rows = place.ask("account.ledger", name=name, limit=limit)
    if as_json:
        print_json(rows)
    elif not rows:
        click.echo(f"Nothing yet. Put something in: signalbox account credit {name} AMOUNT --reason WHY")
    else:
        columns = ("number", "at", "amount", "currency", "balance", "by", "reason")
        print_table([one.upper() for one in columns], [[row[one] for one in columns] for row in rows])


# logins


@account.group()
def login() -> None:
    """The system_ids that may bind for an account, and their passwords."""


_password_option = click.option("--password", default=_GENERATED, show_default=True, help=_PASSWORD_HELP)


@login.command("add")
@click.argument("name")
@click.argument("system_id")
@_password_option
@acting_options
@json_option
def add_login(name: str, system_id: str, password: str, place: Place, as_json: bool) -> None:
    """Let SYSTEM_ID bind for the account NAME."""
    chosen = _password(password)
    view = place.ask("account.login.add", name=name, system_id=system_id, password_hash=password_hash(chosen))
    print_login(_add_generated(view, password, chosen), as_json)


@login.command("rotate")
@click.argument("name")
@click.argument("system_id")
@click.option("--password", default="", help=f"{_PASSWORD_HELP} [default: generated]")
@click.option(
    "--drop-previous",
    is_flag=True,
    help="The previous password stops at once; without --password nothing else happens.",
)
@acting_options
@json_option
def rotate_login(
    name: str, system_id: str, password: str, drop_previous: bool, place: Place, as_json: bool
) -> None:
    """Give SYSTEM_ID a new password; the previous one works until the next rotation or --drop-previous."""
    if not password and not drop_previous:
        password = _GENERATED
    chosen = _password(password) if password else ""
    view = place.ask(
        "account.login.rotate",
        name=name,
        system_id=system_id,
        password_hash=password_hash(chosen) if chosen else "",
        keep_previous=not drop_previous,
    )
    print_login(_add_generated(view, password, chosen), as_json)


@login.command("remove")
@click.argument("name")
@click.argument("system_id")
@acting_options
@json_option
def remove_login(name: str, system_id: str, place: Place, as_json: bool) -> None:
    """SYSTEM_ID does not bind any more; its sessions are unbound."""
    print_account(place.ask("account.login.remove", name=name, system_id=system_id), as_json)


# apps


@account.group()
def app() -> None:
    """Names and passwords with which apps speak other APIs (`signalbox account set NAME --apis …`)."""


@app.command("set")
@click.argument("name")
@click.argument("user")
@click.option("--password", default=_GENERATED, show_default=True, help=_APP_PASSWORD_HELP)
@click.option("--drop-previous", is_flag=True, help="The password before it stops at once.")
@acting_options
@json_option
def set_app(name: str, user: str, password: str, drop_previous: bool, place: Place, as_json: bool) -> None:
    """Let an app log in as USER (an existing app's: its username, SID or api_key) for the account NAME.

    Again for the same USER: another password; the one before it works until the next time.
    """
    from gateway.passwords import app_password_problem, draw_app_password, hash_password

    chosen = draw_app_password() if password == _GENERATED else _password(password)
    problem = app_password_problem(chosen)
    if problem:
        raise Failure(problem, exit_code=USAGE)
    view = place.ask(
        "account.app.set",
        name=name,
        user=user,
        password_hash=hash_password(chosen.encode()),
        keep_previous=not drop_previous,
    )
    print_login(_add_generated(view, password, chosen), as_json)


@app.command("remove")
@click.argument("name")
@click.argument("user")
@acting_options
@json_option
def remove_app(name: str, user: str, place: Place, as_json: bool) -> None:
    """The app USER submits no more."""
    print_account(place.ask("account.app.remove", name=name, user=user), as_json)


# printing


def print_account(view: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(view)
        return
    print_pairs(
        {name: BY_NAME[name].to_text(value) if name in BY_NAME else value for name, value in _flat(view)}
    )


def _flat(view: dict[str, Any]) -> list[tuple[str, Any]]:
    """How many passwords a system_id has only where it is not one."""
    passwords = view.get("passwords", {})
    logins = [
        one if passwords.get(one) == 1 else f"{one} ({passwords.get(one)} passwords)" for one in passwords
    ]
    shown = {**view, "system_ids": logins}
    return [(name, value) for name, value in shown.items() if name != "passwords"]


def print_login(view: dict[str, Any], as_json: bool) -> None:
    """A view that may carry a fresh password."""
    print_account(view, as_json)
    if not as_json and "password" in view:
        click.echo("\nThe password is shown this once; keep it now.")


def print_made(made: dict[str, Any], as_json: bool) -> None:
    """A view that carries a fresh key."""
    print_account(made, as_json)
    if not as_json:
        click.echo("\nThe API key is shown this once; keep it now. Use it as:")
        click.echo(f"  Authorization: Bearer {made['api_key']}")


# passwords


def _password(wish: str) -> str:
    """What is meant by a --password."""
    if wish == "-":
        return str(click.prompt("Password", hide_input=True, confirmation_prompt=True, err=True))
    if wish == _GENERATED:
        from gateway.passwords import draw_password

        return draw_password()
    return wish


def _add_generated(view: dict[str, Any], wish: str, chosen: str) -> dict[str, Any]:
    if wish == _GENERATED:
        view["password"] = chosen
    return view


def password_hash(password: str) -> str:
    """argon2id, encoded. Raises Failure for one that SMPP cannot carry (3.4 §5.2.2)."""
    from gateway.passwords import hash_password, password_problem

    problem = password_problem(password)
    if problem:
        raise Failure(problem, exit_code=USAGE)
    return hash_password(password.encode())
