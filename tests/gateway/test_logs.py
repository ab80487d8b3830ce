"""What a log line shows, and what it never does."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import structlog

from config.model import COMPONENTS
from gateway import logs
from gateway.logs import HIDDEN, configure, mask, mask_number


@pytest.fixture(autouse=True)
def _defaults() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def masked(**event: object) -> dict[str, object]:
    return dict(mask(None, "info", event))


@pytest.mark.parametrize(
    ("number", "shown"),
    [("447700900123", "4477*****123"), ("4477009", "44****9"), ("12345", "*****"), ("", "")],
)
def test_a_number_is_shown_so_that_it_can_be_compared_but_not_called(number: str, shown: str) -> None:
    assert mask_number(number) == shown


def test_numbers_are_masked_by_key_name() -> None:
    assert masked(to="447700900123", message_id="123456789012") == {
        "to": "4477*****123",
        "message_id": "123456789012",
    }


@pytest.mark.parametrize("name", ["text", "data", "body", "short_message", "message_payload"])
def test_texts_are_never_written(name: str) -> None:
    assert masked(**{name: "Your code is 123456"}) == {name: HIDDEN}


@pytest.mark.parametrize("name", ["password", "callback_secret", "API_KEY", "Authorization", "key", "token"])
def test_secrets_are_hidden_by_key_name(name: str) -> None:
    assert masked(**{name: "hunter2"}) == {name: HIDDEN}


@pytest.mark.parametrize(
    "value",
    [
        "bad secret whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw given",
        "Authorization: Bearer abcdefghijklmnop",
        "sbk_abcdefghijklmnop is unknown",
        "sbo_abcdefghijklmnop is unknown",
        "cannot reach https://user:abcdefghijklmnop@host/",
    ],
)
def test_secrets_inside_other_values_are_hidden(value: str) -> None:
    shown = str(masked(error=value)["error"])
    assert HIDDEN in shown
    assert "abcdefghijklmnop" not in shown
    assert "MfKQ" not in shown


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("no route for +447700900123", "no route for +4477*****123"),
        ("to:447700900123: refused", "to:4477*****123: refused"),
        (["447700900123", {"why": "of 447700900123"}], ["4477*****123", {"why": "of 4477*****123"}]),
        ({"to": "447700900123", "text": "hi"}, {"to": "4477*****123", "text": HIDDEN}),
        ("4611686018427387905 waits", "4611686018427387905 waits"),  # an id of ours
        ("127.0.0.1:2775 since 2026-11-21T22:47:40.123456789Z", None),
    ],
)
def test_numbers_inside_other_values_are_masked(value: object, shown: object) -> None:
    assert masked(error=value) == {"error": value if shown is None else shown}


def test_every_part_of_the_gateway_can_have_a_level_of_its_own() -> None:
    made = re.compile(r"""get_logger\("([a-z]+)"\)""")
    files = Path(logs.__file__).parent.rglob("*.py")
    assert {name for file in files for name in made.findall(file.read_text())} == set(COMPONENTS)


def test_json_lines_hold_the_facts_and_no_secret(capsys: pytest.CaptureFixture[str]) -> None:
    configure(json=True)
    structlog.get_logger("t").info("submitted", to="447700900123", text="hello", carrier="north")
    line = msgspec.json.decode(capsys.readouterr().err)
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "submitted",
        "level": "info",
        "component": "t",
        "to": "4477*****123",
        "text": HIDDEN,
        "carrier": "north",
    }


def test_lines_below_the_level_are_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    configure(json=False, level="warning")
    structlog.get_logger("t").info("quiet")
    structlog.get_logger("t").warning("loud")
    shown = capsys.readouterr().err
    assert "quiet" not in shown
    assert "loud" in shown


def test_a_traceback_in_a_line_loses_its_secrets(capsys: pytest.CaptureFixture[str]) -> None:
    configure(json=True)
    try:
        raise ValueError("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    except ValueError:
        structlog.get_logger("t").exception("broke")
    shown = capsys.readouterr().err
    assert "ValueError" in shown
    assert "MfKQ" not in shown


@pytest.mark.parametrize(
    "stranger", ["\x1b]0;owned\x07", "a\rb", "a\nforged line", "\x9b31m", "\u202e", "\ud800"]
)
def test_what_a_stranger_sent_cannot_steer_the_terminal_that_shows_the_log(
    stranger: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(json=False)
    structlog.get_logger("t").warning("bind refused", system_id=stranger, about=[stranger], error=stranger)
    shown = capsys.readouterr().err
    line, _, rest = re.sub(r"\x1b\[[0-9;]*m", "", shown).partition("\n")  # but for our own colours
    assert line.isprintable()
    assert rest == ""


def test_a_traceback_keeps_its_lines_and_loses_its_control_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure(json=False)
    try:
        raise ValueError("\x1b]0;owned")
    except ValueError:
        structlog.get_logger("t").exception("broke")
    shown = capsys.readouterr().err
    assert "\nValueError: \\x1b]0;owned" in shown


def test_words_of_any_language_are_logged_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    configure(json=False)
    structlog.get_logger("t").info("bound", system_id="Grüße 中文")
    assert "Grüße 中文" in capsys.readouterr().err
