"""What of the comparison is not fair, or may not be."""

from __future__ import annotations

from bench.results import Results

ALWAYS = (
    "What remains unequal:",
    "- The agent tells guests when each period is over; of the bare clients, only those that are",
    "  paced tell somebody.",
    "- Bare clients make their sound, or take it, and that is in their CPU. Guests do so too, and",
    "  that is not in the agent's: it copies from their rings, or into them.",
    "- The agent is one process for all guests, bare clients are one each, as guests would be.",
    "- The agent corks a stream that is silent; bare clients play zeros.",
    "- A listener asks for 2 ms, and with that for the audio server's period, of all subjects.",
    "- heard: a guest's writes wake the agent. Bare clients are woken by the server alone, unless",
    "  they are fed; then another process makes their sound, and is not in their CPU.",
    "- Guests look for recorded frames once a millisecond; bare clients are woken.",
    "- path: CPU and memory are of all between the application and dom0's audio server, with the",
    "  guest's audio server. There frames are dropped and repeated where clocks differ.",
    "- A peer's latency counts from the write into its standard input, a pipe that holds 21 ms.",
)


def remarks(results: Results) -> list[str]:
    return [*ALWAYS, *attributes(results)]


def attributes(results: Results) -> list[str]:
    """Whether the subjects of a part have asked the audio server for the same."""
    lines = []
    for part, asked in results.asked().items():
        different = {tuple(sorted(each)) for each in asked.values() if each}
        if not different:
            continue
        if len(different) == 1:
            lines.append(f"- {part}: all asked for {'; '.join(different.pop())}.")
        else:
            each = (f"{name} for {'; '.join(sorted(found))}" for name, found in asked.items())
            lines.append(f"- {part}: NOT THE SAME was asked: {', '.join(each)}.")
    return lines
