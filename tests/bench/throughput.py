# SPDX-License-Identifier: Apache-2.0
"""Throughput lost while both ends of connections are traced, and whether all that was moved was counted."""

import statistics

import machine
from machine import Unavailable

PAIRS_A_REPETITION = 2  # a run is some seconds only, and a neighbour on the host takes more from one than is to be measured


def losses(bench, variants):
    """
    variants: name → function that returns operations a second; "base" runs before and after each round of the others. What these
    lose of the mean of both, in %, by round; what "base" did; and why one is missing.
    """
    base = variants["base"]
    others = {name: measure for name, measure in variants.items() if name != "base"}
    before, lost, notes = base(), {}, {}
    done = [before]
    for number in range(PAIRS_A_REPETITION * bench.repetitions):
        figures = {}
        for name, measure in others.items():
            if name in notes or (name == "all" and number >= 2):  # for information: twice is enough
                continue
            try:
                figures[name] = measure()
            except Unavailable as reason:
                notes[name] = f"{name} not measured: {reason}"
        after = base()
        for name, rate in figures.items():
            lost.setdefault(name, []).append(100 * (1 - rate / statistics.mean((before, after))))
        done.append(after)
        before = after
    return lost, done, list(notes.values())


def counted_note(done, not_at_server, not_at_client):
    return f"{done} requests; not counted at the server {not_at_server:.0f}, at the client {not_at_client:.0f}"


def spread(name, rounds):
    low, _, high = statistics.quantiles(rounds, method="inclusive")
    return f"{name}: half of {len(rounds)} rounds are from {low:.1f} to {high:.1f} %"


def row(bench, what, variants, missed, bar):
    """
    variants: as above, of which "ours" is judged: by its middle round, as a disturbance may be in a round or in those it is compared
    with. missed(): requests so far that were not counted, and a note of them.
    """
    lost, done, notes = losses(bench, variants)
    middle = {name: statistics.median(rounds) for name, rounds in lost.items()}
    found = {
        "what": f"{what} throughput lost, both ends traced",
        "peer_name": machine.READING,
        "unit": "%",
        "base": statistics.median(done),
        "base_unit": "req/s",
        **middle,
        "ratio": None,
        "bar": bar / 100,
        "bar_text": f"<= {bar} %, 0 lost",
        "notes": notes,
    }
    if "ours" in middle:
        not_counted, note = missed()
        found |= {
            "ratio": middle["ours"] / 100,
            "ratio_text": f"{middle['ours']:.1f} %, {not_counted:.0f} lost",
            "ok": middle["ours"] <= bar and not_counted == 0,
        }
        notes.append(note)
    notes.extend(spread(name, rounds) for name, rounds in lost.items() if len(rounds) > 2)
    return found
