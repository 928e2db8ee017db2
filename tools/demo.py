"""`make demo`: two guests, a policy, a real PulseAudio, on any Linux machine.

One guest plays spoken recordings, another records what a microphone hears of them. Every octet is
checked; the exit status says whether all were right.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import wave
from pathlib import Path

from tests.support.agents import Dom0, start_guest
from tests.support.local_machine import LocalMachine
from tests.support.pulse_server import SINK, Ears, PulseServer
from tests.support.raw_frontend import eventually

RECORDINGS = Path("/usr/share/sounds/alsa")
SPOKEN = ("Front_Left", "Front_Right", "Front_Center", "Rear_Left", "Rear_Right", "Rear_Center")
DEFAULT_POLICY = Path(__file__).parent.parent / "policy" / "defaults" / "90-default.yaml"
RATE_HZ = 48000
FRAME_OCTETS = 2  # the recordings are mono, 16 bit
# A microphone beside the speakers; their monitor itself would be refused, as it is no microphone.
MICROPHONE = f"module-remap-source source_name=microphone master={SINK}.monitor remix=no"
DENIED_SECONDS = 3.0
RECORD_SECONDS = 7


def main() -> int:
    directory = Path(tempfile.mkdtemp(prefix="xensnd-demo-"))
    try:
        failures = run(directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print()
    for failure in failures:
        print(f"FAILED: {failure}")
    if failures:
        return 1
    print("PASSED: every octet that was played was heard, and nobody recorded without permission.")
    return 0


def run(directory: Path) -> list[str]:
    speech, played = spoken_words(directory)
    with (
        PulseServer(
            directory / "pulse",
            rate_hz=RATE_HZ,
            channels=1,
            modules=(MICROPHONE,),
            has_source=False,
        ) as pulse,
        LocalMachine(directory / "xen") as machine,
        Dom0(directory / "dom0", machine.url, pulse.address) as dom0,
        pulse.listening() as ears,
    ):
        dom0.policy_file.unlink()
        shutil.copyfile(DEFAULT_POLICY, dom0.policy_directory / DEFAULT_POLICY.name)
        (dom0.policy_directory / DEFAULT_POLICY.name).chmod(0o644)
        step("A machine with two guests, and dom0's agent with the default policy")
        for guest in ("work", "personal"):
            print(f"  guest {guest}, domain {machine.create(guest)}")

        step(f"work plays {len(played) / FRAME_OCTETS / RATE_HZ:.1f} s of speech; personal records")
        playing = start_guest(machine.url, "work", "play", str(speech))
        dom0.await_event("decision", guest="work", direction="playback")
        recording = start_guest(
            machine.url,
            "personal",
            "record",
            str(directory / "recorded.wav"),
            f"--seconds={RECORD_SECONDS}",
            "--channels=1",
        )
        dom0.await_event("decision", guest="personal", direction="capture", decision="deny")
        show_sink_inputs(pulse, "work")
        listen(ears, DENIED_SECONDS)

        step("In dom0: xensnd-policy allow-capture personal")
        print("  " + dom0.policy("allow-capture", "personal").stdout.strip())
        dom0.await_event("decision", guest="personal", direction="capture", decision="allow")
        while recording.poll() is None or playing.poll() is None:
            listen(ears, 0.1)

        step("personal plays too")
        playing_too = start_guest(
            machine.url, "personal", "play", str(RECORDINGS / "Front_Left.wav")
        )
        show_sink_inputs(pulse, "personal")
        playing_too.wait()
        heard = ears.listen_until(lambda octets: played in octets)
        show_audit(dom0)
        return [
            text
            for text, failed in {
                "work's playback failed": playing.returncode != 0,
                "personal's recording failed": recording.returncode != 0,
                "personal's playback failed": playing_too.returncode != 0,
                "the monitor did not record what was played": played not in heard,
                **judge_recording(directory / "recorded.wav", heard),
            }.items()
            if failed
        ]


def spoken_words(directory: Path) -> tuple[Path, bytes]:
    """One recording of alsa-utils' spoken channel names, and its octets."""
    octets = b""
    for name in SPOKEN:
        with wave.open(str(RECORDINGS / f"{name}.wav")) as file:
            octets += file.readframes(file.getnframes())
    path = directory / "speech.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, FRAME_OCTETS, RATE_HZ, 0, "NONE", ""))
        file.writeframes(octets)
    return path, octets


def judge_recording(path: Path, heard: bytes) -> dict[str, bool]:
    """Silence first; then, from the moment it was allowed, what the monitor heard."""
    with wave.open(str(path)) as file:
        recorded = file.readframes(file.getnframes())
    start = len(recorded) - len(recorded.lstrip(b"\0"))
    start -= start % FRAME_OCTETS
    live = recorded[start:]
    silent_seconds = start / FRAME_OCTETS / RATE_HZ
    live_seconds = len(live) / FRAME_OCTETS / RATE_HZ
    step(f"personal recorded {silent_seconds:.2f} s of silence, then {live_seconds:.2f} s of work")
    return {
        "personal recorded before it was allowed": silent_seconds < DENIED_SECONDS,
        "personal recorded nothing after it was allowed": live_seconds < 1,
        "what personal recorded is not what dom0 played": live not in heard,
    }


def show_sink_inputs(pulse: PulseServer, awaited: str) -> None:
    """What pulsectl sees, once the awaited guest is among it."""
    print("  dom0's mixer shows:")
    with pulse.mixer() as mixer:

        def names() -> list[str]:
            return [each.proplist["application.name"] for each in mixer.sink_input_list()]

        eventually(lambda: awaited in names())
        for sink_input in mixer.sink_input_list():
            properties = sink_input.proplist
            print(
                f"    sink input {sink_input.index}: {properties['application.name']} "
                f"({properties['media.name']}), volume {sink_input.volume.value_flat:.0%}"
            )


def show_audit(dom0: Dom0) -> None:
    step("The audit trail")
    for event in dom0.events():
        text = event["MESSAGE"].replace(str(dom0.policy_directory), "policy.d")
        print(f"  {event['TIME'][11:23]} {event['EVENT']:<20} {text}")


def listen(ears: Ears, seconds: float) -> None:
    ears.listen_until(lambda _: False, seconds)


def step(text: str) -> None:
    print(f"\n* {text}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
