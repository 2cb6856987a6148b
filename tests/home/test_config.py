"""The settings of a home."""

from datetime import timedelta

import pytest

from taskrunner import Manual
from taskrunner.cli import main
from taskrunner.errors import InputError, ZoneError
from taskrunner.home import config
from taskrunner.home.config import Config


def write(home, text):
    (home / "taskrunner.toml").write_text(text)
    return str(home)


def test_without_a_file_the_defaults_hold(home):
    assert config.load(str(home)) == Config()


def test_every_setting_can_be_given_in_the_file(home):
    text = (
        'tz = "Europe/Berlin"\nmax_parallel = 4\ntick_period = "30s"\nsynchronous = "normal"\n'
        'path = "/bin"\nshell = "/bin/bash"\nlang = "de_DE.UTF-8"\nallow_network_home = true\n'
        '[env]\nA = "1"\n'
    )
    assert config.load(write(home, text)) == Config(
        tz="Europe/Berlin",
        max_parallel=4,
        tick_period=timedelta(seconds=30),
        synchronous="normal",
        path="/bin",
        shell="/bin/bash",
        lang="de_DE.UTF-8",
        allow_network_home=True,
        env={"A": "1"},
    )


def test_the_file_may_begin_with_a_mark_and_end_its_lines_as_windows_does(home):
    (home / "taskrunner.toml").write_bytes(b'\xef\xbb\xbftz = "UTC"\r\nmax_parallel = 4\r\n')
    assert config.load(str(home)) == Config(tz="UTC", max_parallel=4)


def test_a_variable_wins_over_the_file(home, monkeypatch):
    monkeypatch.setenv("TASKRUNNER_MAX_PARALLEL", "7")
    assert config.load(write(home, "max_parallel = 4\n")).max_parallel == 7


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("max_parallel = 0", "max_parallel .* is '0': .*whole number"),
        ("max_parallel = true", "whole number"),
        ('max_parallel = "many"', "'many': .*whole number"),
        ('tick_period = "soon"', "'soon': .*duration such as 60s"),
        ('synchronous = "off"', "'off': .*full or normal"),
        ("tz = 3", "tz .*: .*text"),
        ('allow_network_home = "perhaps"', "true or false"),
        ("allow_network_home = []", "true or false"),
        ("allow_network_home = { a = 1 }", "true or false"),
        ("[env]\nA = 1", "text as values.*'A'"),
        ('[env]\n"A=B" = "1"', "'A=B'"),
        ('[env]\n"A B" = "1"', "letters, digits and _ .*'A B'"),
        ('[env]\n"Ä" = "1"', "'Ä'"),
        ('[env]\nA = "a\\u0000b"', "NUL.*'A'"),
        ("frob = 1", "frob .* is not a setting: known are tz,"),
        ("tz = ", "cannot be read"),
    ],
)
def test_a_bad_setting_is_named_with_its_value_and_file(home, text, said):
    with pytest.raises(InputError, match=said) as caught:
        config.load(write(home, text))
    assert "taskrunner.toml" in str(caught.value)


def test_a_file_that_is_not_utf8_is_refused(home):
    (home / "taskrunner.toml").write_bytes(b'tz = "\xff"')
    with pytest.raises(InputError, match="cannot be read"):
        config.load(str(home))


def test_a_bad_variable_is_named(home, monkeypatch):
    monkeypatch.setenv("TASKRUNNER_TICK_PERIOD", "x")
    with pytest.raises(InputError, match="TASKRUNNER_TICK_PERIOD is 'x'"):
        config.load(str(home))


@pytest.mark.parametrize(
    ("setting", "variable", "zone"),
    [
        ("Europe/Berlin", "Asia/Tokyo", "Europe/Berlin"),
        (None, "Asia/Tokyo", "Asia/Tokyo"),
        (None, ":Asia/Tokyo", "Asia/Tokyo"),
        (None, "CET", "CET"),
        (None, "EST5EDT", "EST5EDT"),
        (None, "Japan", "Japan"),
        (None, ":/etc/localtime", "Asia/Kolkata"),
        (None, "/etc/localtime", "Asia/Kolkata"),
        (None, "/usr/share/zoneinfo/America/New_York", "America/New_York"),
        (None, ":/usr/share/zoneinfo/posix/America/New_York", "America/New_York"),
        (None, "", "Asia/Kolkata"),
    ],
)
def test_the_default_zone(monkeypatch, setting, variable, zone):
    monkeypatch.setenv("TZ", variable)
    monkeypatch.setattr("taskrunner.clock.local_zone", lambda: "Asia/Kolkata")
    assert config.default_zone(Config(tz=setting)) == zone


@pytest.mark.parametrize(
    ("setting", "variables", "where"),
    [
        ("Mars/Phobos", {}, "taskrunner.toml"),
        ("Mars/Phobos", {"TASKRUNNER_TZ": "Mars/Phobos"}, "TASKRUNNER_TZ"),
        (None, {"TZ": "Mars/Phobos"}, r"\$TZ"),
        (None, {"TZ": "/srv/Mars/Phobos"}, r"\$TZ"),
        (None, {}, "this host"),
    ],
)
def test_a_default_zone_that_is_none_is_named_with_where_it_stands(
    monkeypatch, setting, variables, where
):
    monkeypatch.delenv("TZ", raising=False)
    monkeypatch.setattr("taskrunner.clock.local_zone", lambda: "Mars/Phobos")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ZoneError, match=f"zone of {where} .*Mars/Phobos'"):
        config.default_zone(Config(tz=setting))


@pytest.mark.parametrize(
    "rule", ["CET-1CEST,M3.5.0,M10.5.0/3", "UTC0", "<+03>-3", "CET-1CEST", "EST+5"]
)
def test_a_rule_in_tz_is_not_silently_the_zone_of_the_host(monkeypatch, rule):
    monkeypatch.setenv("TZ", rule)
    with pytest.raises(ZoneError, match=r"zone of \$TZ .* POSIX rule"):
        config.default_zone(Config())


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [({}, True), ({"NO_COLOR": "1"}, False), ({"NO_COLOR": ""}, True), ({"TERM": "dumb"}, False)],
)
def test_colours_are_wanted_unless_declined(monkeypatch, variables, wanted):
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert config.colour_wanted(terminal=True) is wanted


def test_options_of_new_tasks_can_be_given_once_for_all(home, runner):
    write(home, '[defaults]\ntimeout = "5m"\nretries = 2\ncatch_up = "all"\ncatch_up_limit = 7\n')
    plain = runner.add("plain", ["true"], Manual())
    assert (plain.timeout, plain.retries) == (timedelta(minutes=5), 2)
    assert (plain.catch_up, plain.catch_up_limit) == ("all", 7)
    own = runner.add("own", ["true"], Manual(), retries=0, catch_up="last")
    assert (own.retries, own.catch_up, own.catch_up_limit) == (0, "last", None)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("retries = -1", r"defaults in taskrunner.toml: --retries '-1'"),
        ("colour = 1", "defaults in taskrunner.toml: 'colour' is not an option of a task"),
        ("catch_up_limit = 3", "defaults in taskrunner.toml: --catch-up-limit 3 goes only with"),
    ],
)
def test_a_default_that_cannot_be_is_refused_with_where_it_stands(home, runner, text, said):
    write(home, f"[defaults]\n{text}\n")
    with pytest.raises(InputError, match=said):
        runner.add("x", ["true"], Manual())


def test_an_option_taken_back_has_the_default_of_the_config(home, runner):
    write(home, '[defaults]\ntimeout = "5m"\n')
    runner.add("x", ["true"], Manual(), timeout="1h")
    assert main.main(["--home", str(home), "set", "x", "--timeout", "", "--quiet"]) == 0
    assert runner.task("x").timeout == timedelta(minutes=5)


@pytest.mark.parametrize(
    ("text", "bytes_"), [("64kB", 64_000), ("10 MB", 10**7), ("1g", 10**9), (5000, 5000)]
)
def test_sizes_are_read_as_people_write_them(text, bytes_):
    assert config.size(text) == bytes_


@pytest.mark.parametrize("text", ["0", "-1", "1.5MB", "10 TB", "MB", True, None, "1" * 13])
def test_an_invalid_size_is_refused(text):
    with pytest.raises(InputError, match="such as 64kB"):
        config.size(text)
