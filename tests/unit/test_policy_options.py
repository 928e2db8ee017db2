"""The options of a rule: the values of each, and the exact message for a wrong one."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from policy.language.loader import parse
from policy.model import NO_OPTIONS, OnDeny, Options, Rule
from policy.options import KEYS
from xensnd.errors import PolicyError
from xensnd.sndif.formats import SampleFormat

FILE = Path("30-user.yaml")
PCM = (
    "known formats: u8, s16_le, s16_be, s24_le, s24_be, s32_le, s32_be, float_le, float_be, "
    "mu_law, a_law"
)


def rule(*lines: str) -> Rule:
    """A rule about capture, these lines from line 5."""
    text = "version: 1\nrules:\n- guest: a\n  capture: allow\n"
    (only,) = parse((text + "".join(f"  {line}\n" for line in lines)).encode(), FILE)
    return only


def mistake(*lines: str) -> str:
    with pytest.raises(PolicyError) as caught:
        rule(*lines)
    return str(caught.value).removeprefix("30-user.yaml:")


GOOD = {
    "max-volume: 80%": Options(max_volume_percent=80),
    "max-volume: '100%'": Options(max_volume_percent=100),
    "on-deny: refuse": Options(on_deny=OnDeny.REFUSE),
    "on-deny: silence": NO_OPTIONS,
    "device: alsa_input.pci-0000_00_1f.3.analog-stereo": Options(
        device="alsa_input.pci-0000_00_1f.3.analog-stereo"
    ),
    "device: bluez_input.00:1B:66:A5.0": Options(device="bluez_input.00:1B:66:A5.0"),
    "formats: [s16_le, s24_le]": Options(formats=(SampleFormat.S16_LE, SampleFormat.S24_LE)),
    "rates: [44100, 48000]": Options(rates_hz=(44100, 48000)),
    "max-streams: 2": Options(max_streams=2),
    "max-buffer: 65536": Options(max_buffer_octets=65536),
    "max-buffer: 256KiB": Options(max_buffer_octets=256 * 1024),
    "max-buffer: 1MiB": Options(max_buffer_octets=1024 * 1024),
    "max-memory: 4MiB": Options(max_memory_octets=4 << 20),
    "budget: 10%": Options(budget_percent=10),
    "budget: 1000%": Options(budget_percent=1000),
    "latency: 20ms": Options(latency_usec=20_000),
    "latency: 2.5ms": Options(latency_usec=2_500),
}


@pytest.mark.parametrize(("line", "options"), GOOD.items())
def test_option_is_read_from_its_text(line: str, options: Options) -> None:
    assert rule(line).options == options


VOLUME = "(write such as 80%; for no sound, deny playback)"
COUNT = "(write a number; for no streams, deny)"
BUDGET = "(write such as 50% for half of the usual, or 200%)"
OCTETS = "(write such as 65536 or 64KiB)"
NOT_A_NAME = (
    "is not the name of a sink or source (write a name, not a number; "
    "'pactl list short sinks' and 'sources' show the names)"
)

BAD = {
    "max-volume: 80": f"5:15: max-volume: '80' is not 1% to 100% {VOLUME}",
    "max-volume: 0.8": f"5:15: max-volume: '0.8' is not 1% to 100% {VOLUME}",
    "max-volume: 0%": f"5:15: max-volume: '0%' is not 1% to 100% {VOLUME}",
    "max-volume: 101%": f"5:15: max-volume: '101%' is not 1% to 100% {VOLUME}",
    "max-volume: 0x10%": f"5:15: max-volume: '0x10%' is not 1% to 100% {VOLUME}",
    "max-volume: \u0668%": f"5:15: max-volume: '\u0668%' is not 1% to 100% {VOLUME}",
    "max-volume:": f"5:14: max-volume is empty {VOLUME}",
    "max-volume: [80%]": f"5:15: max-volume must be one word or name, got a list {VOLUME}",
    "on-deny: mute": ("5:12: on-deny: 'mute' is not silence or refuse (write silence or refuse)"),
    "device: alsa_output.usb.monitor": (
        "5:11: device: 'alsa_output.usb.monitor' is a monitor, which would let the guest hear what "
        "other guests play (name a microphone; 'pactl list short sources' shows them)"
    ),
    "monitor: allow": (
        "5:12: monitor: allow is for a device that is a monitor "
        "(add device: NAME.monitor, or remove it)"
    ),
    "monitor: deny": "5:12: monitor: 'deny' is not allow (write allow, or leave it out)",
    "device: '@DEFAULT_MONITOR@'": f"5:11: device: '@DEFAULT_MONITOR@' {NOT_A_NAME}",
    "device: 3": f"5:11: device: '3' {NOT_A_NAME}",
    "device: 0x3": f"5:11: device: '0x3' {NOT_A_NAME}",
    "device: a b": f"5:11: device: 'a b' {NOT_A_NAME}",
    "formats: s16_le": "5:12: formats must be a list, got 's16_le' (write [one, another])",
    "formats: []": "5:12: formats is empty (write at least one value, or remove the key)",
    "formats: [s16]": f"5:13: formats: 's16' is not a format that can be played ({PCM})",
    "formats: [gsm]": f"5:13: formats: 'gsm' is not a format that can be played ({PCM})",
    "formats: [u8, u8]": "5:17: formats: 'u8' appears twice (remove one)",
    "rates: [48k]": (
        "5:11: rates: '48k' is not 1000 to 768000 (write frames a second, such as 48000)"
    ),
    "rates: [048000]": (
        "5:11: rates: '048000' is not 1000 to 768000 (write frames a second, such as 48000)"
    ),
    "rates: [800000]": (
        "5:11: rates: '800000' is not 1000 to 768000 (write frames a second, such as 48000)"
    ),
    f"rates: [{', '.join(map(str, range(8000, 8033)))}]": (
        "5:203: rates has more than 32 values (remove some)"
    ),
    "max-streams: 0": f"5:16: max-streams: '0' is not 1 to 64 {COUNT}",
    "max-streams: 65": f"5:16: max-streams: '65' is not 1 to 64 {COUNT}",
    "max-streams: 0o7": f"5:16: max-streams: '0o7' is not 1 to 64 {COUNT}",
    "max-buffer: 256kB": f"5:15: max-buffer: '256kB' is not a number of octets {OCTETS}",
    "max-buffer: 256 KiB": f"5:15: max-buffer: '256 KiB' is not a number of octets {OCTETS}",
    "max-buffer: 1e6": f"5:15: max-buffer: '1e6' is not a number of octets {OCTETS}",
    "max-buffer: 512": f"5:15: max-buffer: '512' is not 1KiB to 16MiB {OCTETS}",
    "max-memory: 512": f"5:15: max-memory: '512' is not 1KiB to 16MiB {OCTETS}",
    "max-buffer: 999999999MiB": f"5:15: max-buffer: '999999999MiB' is not 1KiB to 16MiB {OCTETS}",
    "budget: 0.5": f"5:11: budget: '0.5' is not 10% to 1000% {BUDGET}",
    "budget: 9%": f"5:11: budget: '9%' is not 10% to 1000% {BUDGET}",
    "budget: 1001%": f"5:11: budget: '1001%' is not 10% to 1000% {BUDGET}",
    "latency: 20": "5:12: latency: '20' is not a time in milliseconds (write such as 20ms)",
    "latency: 20us": "5:12: latency: '20us' is not a time in milliseconds (write such as 20ms)",
    "latency: 0.5ms": "5:12: latency: '0.5ms' is not 1ms to 2000ms (write such as 20ms)",
    "latency: 2001ms": "5:12: latency: '2001ms' is not 1ms to 2000ms (write such as 20ms)",
    "max_volume: 80%": "5:3: unknown key 'max_volume' (did you mean 'max-volume'?)",
    "once: true": (
        "5:9: once is allowed in temporary grants only "
        "(remove it, and use xensnd-policy allow-capture GUEST --once)"
    ),
    "once: yes": "5:9: once: 'yes' is not true or false (write true)",
    "taken-by: 7/0": "5:13: taken-by is allowed with once: true only (remove it)",
}


@pytest.mark.parametrize(("line", "message"), BAD.items())
def test_wrong_option_is_reported(line: str, message: str) -> None:
    assert mistake(line) == message


def test_device_is_either_a_sink_or_a_source() -> None:
    assert mistake("playback: allow", "device: speakers") == (
        "6:11: device is a sink or a source, but the rule names both playback and capture "
        "(write two rules)"
    )


def test_rule_with_options_only_is_refused() -> None:
    with pytest.raises(
        PolicyError, match=r"3:3: the rule names no direction \(add playback: or capture"
    ):
        parse(b"version: 1\nrules:\n- guest: a\n  max-streams: 1\n", FILE)


def test_text_of_a_rule_has_its_options_as_one_writes_them() -> None:
    lines = (
        "latency: 2.500ms", "budget: 200%", "max-buffer: 1024KiB", "max-streams: 2",
        "rates: [ 48000,44100 ]", "formats: ['s16_le']", "device: mic",
        "on-deny: refuse", "max-volume: 80%",
    )  # fmt: skip
    assert rule(*lines).text == (
        "guest: a, capture: allow, max-volume: 80%, on-deny: refuse, device: mic, "
        "formats: [s16_le], rates: [48000, 44100], max-streams: 2, max-buffer: 1MiB, "
        "budget: 200%, latency: 2.5ms"
    )


def test_every_option_has_one_key() -> None:
    assert [key.field for key in KEYS] == [field.name for field in fields(Options)]


def test_monitor_may_be_recorded_where_its_name_and_the_word_stand() -> None:
    both = rule("device: speakers.monitor", "monitor: allow")
    assert both.options == Options(device="speakers.monitor", allows_monitor=True)
    assert both.text.endswith("device: speakers.monitor, monitor: allow")


def test_microphone_needs_no_word() -> None:
    assert mistake("device: microphone", "monitor: allow") == (
        "6:12: monitor: allow is for a device that is a monitor "
        "(add device: NAME.monitor, or remove it)"
    )


def test_rule_about_playback_speaks_of_no_monitor() -> None:
    text = "version: 1\nrules:\n- {guest: a, playback: allow, device: x.monitor, monitor: allow}\n"
    with pytest.raises(PolicyError, match="a monitor is a source, but the rule names playback"):
        parse(text.encode(), FILE)
