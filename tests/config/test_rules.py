"""config.rules: what does not fit together is refused, with words that help."""

from __future__ import annotations

import datetime

import pytest

from config.rules import status_of, zone_of
from router.lanes import MAX_CARRIERS
from tests.config.reading import CARRIER, GOOD, ROUTE, only, problems, read


@pytest.mark.parametrize(
    ("addition", "key", "word"),
    [
        ("tps = 1e9", "carriers[0].tps", "0 to 1,000,000"),
        ("tps = nan", "carriers[0].tps", "finite"),
        ("sessions = 0", "carriers[0].sessions", "1 to 100"),
        ("window = 1.5", "carriers[0].window", "whole number"),
        ("tls = 1", "carriers[0].tls", "true or false"),
        ("tls = 'yes'", "carriers[0].tls", "true or false"),
        ("port = true", "carriers[0].port", "whole number"),
        ("hosts = ['a:b']", "carriers[0].hosts[0]", "not an address"),
        ("tx_host = 'a'", "carriers[0].tx_host", "does not go with"),
        ("receipt_zone = 'Europe/Berln'", "carriers[0].receipt_zone", "not a time zone"),
        (
            "validity_form = 'absolute'\nvalidity_zone = 'Mars'",
            "carriers[0].validity_zone",
            "not a time zone",
        ),
        ("maintenance = [{ reason = 'x' }]", "carriers[0].maintenance[0]", "no hours, days or dates"),
        ("maintenance = [{ hours = ['25:00-1:00'] }]", "carriers[0].maintenance[0].hours[0]", "25:00"),
        ("health = { trial = 0 }", "carriers[0].health.trial", "1 to 10,000"),
        ("senders = [{ country = ['UK'], use = 'X' }]", "carriers[0].senders[0].country[0]", "no country"),
        ("senders = [{ country = ['US'] }]", "carriers[0].senders[0]", "nothing to do"),
        ("senders = [{ refuse = true, ton = 1 }]", "carriers[0].senders[0].refuse", "no use, ton or npi"),
        ("senders = [{ use = 'a name too long' }]", "carriers[0].senders[0].use", "11 characters"),
        ("senders = [{ ton = 1 }, { prefix = ['1'], ton = 2 }]", "carriers[0].senders[1]", "never reached"),
        (
            "senders = [{ sender_type = ['name'], ton = 1 }]",
            "carriers[0].senders[0].sender_type[0]",
            "choices",
        ),
        ("senders = [{ from = ['A'], ton = 1 }]", "carriers[0].senders[0].from", "unknown key"),
        ("tlvs = [{ text = 'a' }]", "carriers[0].tlvs[0].tag", "missing"),
        ("tlvs = [{ tag = 0x1400 }]", "carriers[0].tlvs[0]", "has no value"),
        ("tlvs = [{ tag = 0x1400, text = 'a', number = 0 }]", "carriers[0].tlvs[0]", "text and number"),
        ("tlvs = [{ tag = 0x10000, text = 'a' }]", "carriers[0].tlvs[0].tag", "1 to 65,535"),
        ("tlvs = [{ tag = '0x1400', text = 'a' }]", "carriers[0].tlvs[0].tag", "whole number"),
        ("tlvs = [{ tag = 0x1400, hex = 'abc' }]", "carriers[0].tlvs[0].hex", "does not fit"),
        ("tlvs = [{ tag = 0x1400, number = 256, octets = 1 }]", "carriers[0].tlvs[0].octets", "does not fit"),
        ("tlvs = [{ tag = 0x1400, text = 'a', octets = 1 }]", "carriers[0].tlvs[0].octets", "of a number"),
        (
            "tlvs = [{ tag = 5, number = 1, terminated = true }]",
            "carriers[0].tlvs[0].terminated",
            "of a text",
        ),
        ("tlvs = [{ tag = 0x0424, text = 'a' }]", "carriers[0].tlvs[0].tag", "the gateway itself"),
        ("tlvs = [{ tag = 5, text = 'a', class = ['urgent'] }]", "carriers[0].tlvs[0].class[0]", "choices"),
        ("validity_zone = '+02:00'", "carriers[0].validity_zone", "no effect"),
        ("alphabet = 'utf8'", "carriers[0].alphabet", "choices"),
        ("national_shift = 'all'", "carriers[0].national_shift", "choices"),
        ("alphabet = 'latin1'\nnational_shift = 'both'", "carriers[0].national_shift", "GSM 7-bit"),
        ("national_languages = ['hindi']", "carriers[0].national_languages", "no effect"),
        (
            "national_shift = 'both'\nnational_languages = ['hindu']",
            "carriers[0].national_languages[0]",
            "choices",
        ),
        (
            "national_shift = 'locking'\nnational_languages = ['spanish']",
            "carriers[0].national_shift",
            "no locking",
        ),
        ("number_format = 'national'", "carriers[0].number_format", "national_prefix"),
        ("interface_version = '3.3'", "carriers[0].bind", "bind_transceiver"),
        ("tls_server_name = 'x'", "carriers[0].tls_server_name", "no effect without tls"),
        ("tls = true\ntls_ca_file = 'none.pem'", "carriers[0].tls_ca_file", "there is no file"),
        ("reconnect_max_s = 0.5", "carriers[0].reconnect_max_s", "less than"),
        ("retry = { max_s = 1 }", "carriers[0].retry.max_s", "less than"),
        ("password = 'a'\npassword_file = '/dev/null'", "carriers[0].password_file", "password is given too"),
        ("statuses = { ESME_RSYSER = 'retry' }", "carriers[0].statuses.ESME_RSYSER", "not a status"),
        ("statuses = { '0x42e' = 'sent' }", "carriers[0].statuses.0x42e", "choices"),
        ("statuses = { '0x4FF-0x400' = 'next' }", "carriers[0].statuses.0x4FF-0x400", "not a status"),
        (
            "refusals = [{ status = ['ESME_RX'], then = 'hold' }]",
            "carriers[0].refusals[0].status[0]",
            "not a status",
        ),
        ("refusals = [{ status = ['0x42e'], then = 'sent' }]", "carriers[0].refusals[0].then", "choices"),
        (
            "refusals = [{ status = ['0x42e'], then = 'hold', pause_s = 5 }]",
            "carriers[0].refusals[0].pause_s",
            "no effect",
        ),
        ("limits = { tps = 5 }", "carriers[0].limits.tps", "beside the carrier"),
        ("limits = [{ prefix = ['44'] }]", "carriers[0].limits[0]", "limits nothing"),
        ("limits = [{ each_sender = true }]", "carriers[0].limits[0]", "limits nothing"),
        (
            "limits = [{ each_sender = true, per_day = 9 }]",
            "carriers[0].limits[0].each_sender",
            "not kept over a restart",
        ),
        (
            "limits = [{ prefix = ['44'], tps = 1 }, { prefix = ['+44'], per_day = 1 }]",
            "carriers[0].limits[1]",
            "the same messages",
        ),
        ("error_map = { 'err:001' = 'absent' }", "carriers[0].error_map.err:001", "choices"),
        ("error_map = { '001' = 'spam' }", "carriers[0].error_map.001", "is not a code"),
        ("error_map = { 'err:' = 'spam' }", "carriers[0].error_map.err:", "is not a code"),
        ("error_map = { 'status:ESME_X' = 'spam' }", "carriers[0].error_map.status:ESME_X", "is not a code"),
        ("error_map = { 'net:3' = 'spam' }", "carriers[0].error_map.net:3", "is not a code"),
        ("error_map = { 'net:256:1' = 'spam' }", "carriers[0].error_map.net:256:1", "is not a code"),
        (
            "error_map = { 'err:01' = 'spam', 'err:001' = 'barred' }",
            "carriers[0].error_map.err:001",
            "the same code",
        ),
        ("system_type = 'far too long a word'", "carriers[0].system_type", "does not fit"),
    ],
)
def test_a_carriers_mistakes_are_told(addition: str, key: str, word: str) -> None:
    problem = only(CARRIER + addition + "\n" + ROUTE)
    assert problem.key == key
    assert word in problem.message
    assert problem.line >= 2


def test_a_tlv_is_no_part_of_smpp_33() -> None:
    source = CARRIER + "bind = 'transmitter+receiver'\ninterface_version = '3.3'\n"
    problem = only(source + "[[carriers.tlvs]]\ntag = 0x1400\ntext = 'a'\n" + ROUTE)
    assert (problem.key, problem.line) == ("carriers[0].tlvs[0]", source.count("\n") + 1)
    assert "SMPP 3.3 has not" in problem.message


def test_a_wrong_code_of_an_error_map_is_told_with_its_own_line_and_what_to_write() -> None:
    source = CARRIER + '[carriers.error_map]\n"err:001" = "spam"\n"nett:3:1" = "barred"\n' + ROUTE
    problem = only(source)
    assert source.splitlines()[problem.line - 1] == '"nett:3:1" = "barred"'
    assert '"net:3:1"' in problem.hint
    near = only(CARRIER + "error_map = { 'err:6' = 'absent_subscribr' }\n" + ROUTE)
    assert near.hint == 'did you mean "absent_subscriber"?'


def test_an_error_map_is_read_in_all_the_forms_that_it_may_be_written_in() -> None:
    source = CARRIER + (
        "[carriers.error_map]\n"
        '"err:001" = "absent_subscriber"\n"err:4a6" = "spam"\n"status:0x42E" = "no_credit"\n'
        '"status:1071" = "barred"\n"status:ESME_RINVDSTADR" = "opted_out"\n"net:3:0x15" = "no_route"\n'
    )
    causes = read(source + ROUTE).carriers[0].causes
    assert causes.errors == {"1": "absent_subscriber", "4A6": "spam"}
    assert causes.statuses == {0x42E: "no_credit", 1071: "barred", 0x0B: "opted_out"}
    assert causes.networks == {(3, 21): "no_route"}


def test_a_carrier_needs_a_host() -> None:
    assert only(CARRIER.replace('host = "192.0.2.10"\n', "") + ROUTE).message == "has no host"


def test_separate_addresses_are_enough_for_pairs() -> None:
    source = CARRIER.replace(
        'host = "192.0.2.10"\n', 'tx_host = "a"\nrx_host = "b:99"\nbind = "transmitter+receiver"\n'
    )
    carrier = read(source + ROUTE).carriers[0]
    assert [str(each) for each in carrier.tx_targets + carrier.rx_targets] == ["a:2775", "b:99"]


@pytest.mark.parametrize(
    ("lane", "word"),
    [
        ("[]", "is empty"),
        ('["north", "north"]', "named twice"),
        ('["nrth"]', "there is no carrier"),
        ('[{ carrier = "north", weight = 0 }]', "every carrier has weight 0"),
        ('[{ carrier = "north", weight = -1 }]', "must be"),
        ("[{ weight = 3 }]", "carrier is missing"),
        ('["north", { carrier = "south", weight = 3 }]', "some have none"),
        ('["ears"]', "cannot send"),
        ('"north"', "must be a list"),
        ("[5]", "carrier's name or a table"),
    ],
)
def test_a_lanes_mistakes_are_told(lane: str, word: str) -> None:
    others = CARRIER.replace("north", "south") + CARRIER.replace("north", "ears") + 'bind = "receiver"\n'
    problem = only(CARRIER + others + ROUTE.replace('["north"]', lane))
    assert problem.key.startswith("routes[0].lane")
    assert word in problem.message


def test_a_lane_has_at_most_sixteen_carriers() -> None:
    names = [f"c{n}" for n in range(MAX_CARRIERS + 1)]
    source = "".join(CARRIER.replace("north", name) for name in names)
    assert "at most 16" in only(source + ROUTE.replace('["north"]', str(names))).message


def test_names_are_given_once() -> None:
    assert only(CARRIER + GOOD).message == '"north" is taken by the one in line 2'
    assert [each.key for each in problems(GOOD + ROUTE)] == ["routes[1]", "routes[1].name"]


def routes(*rules: tuple[str, str]) -> str:
    return CARRIER + "".join(
        f'[[routes]]\nname = "{name}"\nlane = ["north"]\n'
        + (f"match = {{ prefix = {prefix} }}\n" if prefix else "")
        for name, prefix in rules
    )


def test_a_rule_behind_a_catch_all_is_never_reached() -> None:
    problem = only(routes(("all", ""), ("uk", '["44"]')))
    assert problem.key == "routes[1].match.prefix"
    assert 'route "all"' in problem.message
    assert "above" in problem.hint


def test_a_longer_prefix_behind_a_shorter_one_is_never_reached() -> None:
    assert '"447" is taken' in only(routes(("uk", '["44"]'), ("mobile", '["49", "447"]'))).message
    assert problems(routes(("mobile", '["+447"]'), ("uk", '["44"]'), ("all", ""))) == []


def test_two_catch_alls_are_one_too_many() -> None:
    assert "every number is taken" in only(routes(("a", ""), ("b", ""))).message


@pytest.mark.parametrize("prefix", ['["44a"]', '["0x"]', '[""]', "[44]", '"44"', "[]"])
def test_what_is_no_prefix_is_told(prefix: str) -> None:
    assert only(routes(("uk", prefix))).key.startswith("routes[0].match")


def test_the_same_address_is_not_listened_on_twice() -> None:
    source = '[http]\nlisten = ["127.0.0.1:1", "127.0.0.1:1"]\n' + GOOD
    assert only(source).message == "127.0.0.1:1 is listened on already, see line 2"


@pytest.mark.parametrize(
    ("smpp", "key", "word"),
    [
        ('listen = ["[::]:1"]\nlisten_tls = ["[::]:1"]\ntls_cert_file = "CHAIN"', "listen_tls[0]", "already"),
        ('listen_tls = ["[::]:1"]', "listen_tls", "no certificate"),
        ('listen_tls = ["[::]:1"]\ntls_cert_file = "none.pem"', "tls_cert_file", "there is no file"),
        ('listen = ["[::]:1"]\ntls_cert_file = "CHAIN"', "tls_cert_file", "no effect without listen_tls"),
        ('proxy_from = ["10.0.0.0/8", "balancer"]', "proxy_from[1]", "no network"),
        ('trusted_from = ["10.0.0.0/33"]', "trusted_from[0]", "no network"),
    ],
)
def test_mistakes_of_our_smsc_side_are_told(smpp: str, key: str, word: str) -> None:
    problem = only("[smpp]\n" + smpp.replace("CHAIN", __file__) + "\n" + GOOD)
    assert problem.key == "smpp." + key
    assert word in problem.message


@pytest.mark.parametrize(
    ("http", "key", "word"),
    [
        ('listen_tls = ["127.0.0.1:8080"]\ntls_cert_file = "CHAIN"', "listen_tls[0]", "already"),
        ('listen_tls = ["[::]:1"]', "listen_tls", "no certificate"),
        ('listen_tls = ["[::]:1"]\ntls_cert_file = "none.pem"', "tls_cert_file", "there is no file"),
        ('tls_key_file = "CHAIN"', "tls_key_file", "no effect without listen_tls"),
        ('[[http.apps]]\napis = ["kannel"]', "apps[0]", "an address is needed"),
        ('[[http.apps]]\napis = ["kannel"]\nlisten = ["127.0.0.1:8080"]', "apps[0].listen[0]", "already"),
        ('[[http.apps]]\napis = ["kannel"]\nlisten_tls = ["[::]:1"]', "listen_tls", "no certificate"),
    ],
)
def test_mistakes_of_https_are_told(http: str, key: str, word: str) -> None:
    problem = only("[http]\n" + http.replace("CHAIN", __file__) + "\n" + GOOD)
    assert problem.key == "http." + key
    assert word in problem.message


def test_https_alone_will_do() -> None:
    source = f'[http]\nlisten = []\nlisten_tls = ["[::]:1"]\ntls_cert_file = "{__file__}"\n'
    assert read(source + GOOD).http.listen == ()


def test_the_api_needs_an_address() -> None:
    assert only("[http]\nlisten = []\n" + GOOD).key == "http.listen"


@pytest.mark.parametrize("delays", ["[]", "[1]", "[2, 1]", "[1, 2, 3]"])
def test_a_simulators_delay_is_a_least_and_a_most(delays: str) -> None:
    source = f'[[simulators]]\nname = "s"\nlisten = "127.0.0.1:1"\nreceipt_delay_s = {delays}\n'
    assert only(GOOD + source).key == "simulators[0].receipt_delay_s"


def test_a_prefix_may_be_written_with_a_plus() -> None:
    assert read(routes(("uk", '["+44"]'))).routes[0].prefixes == ("44",)


def test_the_usual_validity_fits_into_the_longest() -> None:
    assert only("[messages]\nmax_validity_s = 60\n" + GOOD).key == "messages.validity_default_s"


def test_a_region_is_one_of_the_world() -> None:
    assert only('[gateway]\ndefault_region = "XX"\n' + GOOD).message == '"XX" is no region'
    assert only('[gateway]\ndefault_region = "gb"\n' + GOOD).key == "gateway.default_region"


def test_what_runs_but_is_probably_not_meant_is_warned_of() -> None:
    source = CARRIER + "tps = 5000\nwindow = 1\ntls = true\ntls_verify = false\n"
    keys = [warning.key for warning in read(source).warnings]
    assert keys == ["carriers[0].tls_verify", "carriers[0].window", "routes", "carriers[0]"]


@pytest.mark.parametrize(
    ("text", "number"),
    [("ESME_RSYSERR", 8), ("0x42E", 0x42E), ("255", 255), ("0", None), ("0x1FFFFFFFFF", None), ("x", None)],
)
def test_a_status_is_a_name_or_a_number(text: str, number: int | None) -> None:
    assert status_of(text) == number


@pytest.mark.parametrize(
    ("silence_s", "age_s", "warned"), [(60, 60, 1), (61, 60, 1), (59, 60, 0), (60, 0, 0)]
)
def test_a_receipt_that_is_waited_for_too_long_to_pass_anything_on_is_warned_of(
    silence_s: int, age_s: int, warned: int
) -> None:
    other = CARRIER.replace("north", "south")
    route = (
        f'[[routes]]\nname = "otp"\nlane = ["north", "south"]\nmax_queue_age_s = {age_s}\n'
        f"on_receipt = {{ no_receipt_s = {silence_s} }}\n"
    )
    warnings = read(CARRIER + other + route).warnings
    assert [one.key for one in warnings] == ["routes[0].on_receipt.no_receipt_s"] * warned
    assert all(f"max_queue_age_s is {age_s}" in str(one) for one in warnings)


def test_a_zone_is_utc_a_name_or_an_offset() -> None:
    at = datetime.datetime(2026, 7, 1, tzinfo=datetime.UTC)
    for text, hours in (("UTC", 0.0), ("+02:00", 2.0), ("-03:30", -3.5), ("Europe/Berlin", 2.0)):
        zone = zone_of(text)
        assert zone is not None
        assert at.astimezone(zone).utcoffset() == datetime.timedelta(hours=hours)
    assert all(
        zone_of(text) is None for text in ("", "Mars", "+2", "../etc/passwd", "/etc/localtime", "+02:61")
    )


@pytest.mark.parametrize("condition", ['mcc_mnc = ["23430"]', "ported = true"])
def test_a_rule_that_asks_for_networks_needs_something_that_knows_them(condition: str) -> None:
    source = CARRIER + f'[[routes]]\nname = "a"\nlane = ["north"]\nmatch = {{ {condition} }}\n'
    warned = [warning.key for warning in read(source).warnings]
    assert warned == [f"routes[0].match.{condition.partition(' ')[0]}"]
    for known in (
        'prefix_table = "t"',
        'mnp_table = "t"',
        'lookup = { url = "http://hlr.example/{number}" }',
    ):
        assert read(f"[numbers]\n{known}\n" + source).warnings == ()
