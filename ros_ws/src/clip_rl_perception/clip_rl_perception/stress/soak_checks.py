"""Whether what came back in a soak is what had to come back: from the cameras' logs and the witness's, line by line.

Of every frame that the node took up there is one status of the same header: of a good one beside it one mask and one
set of tags, of a damaged one neither. Which frames it took up the node's own counters say: they rise by one a status.
"""

from __future__ import annotations

import collections
import dataclasses
import itertools
from typing import Any

from clip_rl_perception.scene.types import Validity

STAMPS, ANSWERS, DAMAGE, PROCESSES = "stamps", "answers", "damage", "processes"
CONDITIONS = {
    STAMPS: "no wrong stamp: every result has the header of a published image, and every mask is that image's",
    ANSWERS: "every frame taken up is answered, once, and the counters add up",
    DAMAGE: "every damaged frame taken up is INVALID_INPUT with a reason in one line, every good one is not",
    PROCESSES: "the node never ends by itself, leaves a traceback or hangs, and tells when it gets no images",
}
"""What has to hold, beside the memory."""
LEAST_AGREEMENT = {False: 0.98, True: 0.75}
"""Share of the pixels in which a mask is the expected one, by whether the node recalls the frames before, which here
never show the same picture."""
PATIENCE = 100
"""So many frames later the parts of an answer, which come on topics of their own, have to be there."""
IN_HAND = 3
"""Of a node that was killed, so many of the last frames may be answered in part."""
NAMED = 50
"""Findings of each condition that are kept in full."""
GOOD = {"mask", "tags", "status"}
"""What comes back for a good frame."""


@dataclasses.dataclass
class Counts:
    """How much there was."""

    sent: int = 0
    """Frames sent by the cameras."""
    received: int = 0
    """By the nodes, as their counters say."""
    dropped: int = 0
    """For newer ones, before they were taken up."""
    answered: int = 0
    """Statuses."""
    masks: int = 0
    alone: int = 0
    """Masks of nodes that recall no frame before."""
    exact: int = 0
    """Those of them that are equal to the expected one in every pixel."""
    lost: int = 0
    """Messages that the node sent and the witness did not get, as the publishers' numbers say."""
    deaf: int = 0
    """Lives in which the node got no image though a camera filmed, and its diagnostics said so."""
    cut_off: int = 0
    """Answered in part when the node was killed."""
    shifted: int = 0
    """Masks of frames whose stamp was not the machine's time: the camera's clock had jumped."""
    bad_sent: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """By what was wrong with them."""
    bad_told: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    validity: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    """Of the statuses."""


class SoakChecks:
    """Takes the lines of the logs in their order; of each camera's before the witness's that may speak of them."""

    def __init__(self, sizes: tuple[tuple[int, int], ...]) -> None:
        """`sizes`: (width, height) of the pictures, in the order in which the cameras number them."""
        self.counts = Counts()
        self.findings: collections.Counter[str] = collections.Counter()
        """How many, by condition."""
        self.named: dict[str, list[str]] = {name: [] for name in CONDITIONS}
        self._recalls = False
        self._health: tuple[int, str] | None = None
        """Level and text of what this life of the node last said of its input."""
        self._shapes = [[height, width] for width, height in sizes]
        self._sent: dict[str, dict[str, Any]] = {}
        self._open: dict[str, set[str]] = {}
        """Parts that have come, of frames whose answer is not complete."""
        self._closed: set[str] = set()
        self._lost = dict.fromkeys(sorted(GOOD), 0)
        """Messages that were lost on their way to the witness, and are not missed yet."""
        self._gap = 0
        """Statuses lost since the last one that came."""
        self._last: dict[str, Any] | None = None
        """Status before, of this life of the node."""

    def find(self, condition: str, text: str) -> None:
        """Note that a condition does not hold."""
        self.findings[condition] += 1
        if len(self.named[condition]) < NAMED:
            self.named[condition].append(text)

    def sent(self, line: dict[str, Any]) -> None:
        """A line of a camera's log."""
        self._sent[line["frame"]] = line
        self.counts.sent += 1
        if "bad" in line:
            self.counts.bad_sent[line["bad"]] += 1

    def came(self, line: dict[str, Any]) -> None:
        """A line of the witness's log."""
        if line["kind"] == "health":
            self._health = (line["level"], line["text"])
            return
        if line["kind"] == "lost":
            self._lost[line["topic"]] += line["count"]
            self.counts.lost += line["count"]
            self._gap += line["count"] * (line["topic"] == "status")
            return
        kind, frame = line["kind"], line["frame"]
        image = self._sent.get(frame)
        if image is None or image["stamp"] != line["stamp"]:
            was = f"had {image['stamp']}" if image is not None else "was never published"
            self.find(STAMPS, f"{kind} with header {frame} {line['stamp']}: that image {was}")
            return
        parts = self._open.setdefault(frame, set())
        if kind in parts or frame in self._closed:
            self.find(ANSWERS, f"{kind} of {frame} came twice")
        parts.add(kind)
        getattr(self, f"_on_{kind}")(line, image)
        if parts == ({"status"} if "bad" in image else GOOD):
            del self._open[frame]
            self._closed.add(frame)
        if len(self._open) > PATIENCE:
            self._give_up(next(iter(self._open)))

    def life_began(self, *, recalls: bool) -> None:
        """A node was started; whether it recalls the frame before."""
        self._recalls, self._health = recalls, None

    def fell_silent(self, node: int, seconds: float) -> None:
        """No status came for so long though a camera films: the middleware's fault where the node reports it."""
        if self._health is not None and self._health[0] > 0:
            self.counts.deaf += 1
        else:
            said = f"diagnostics said '{self._health[1]}'" if self._health is not None else "so were diagnostics"
            self.find(PROCESSES, f"node {node} was silent for {seconds:.0f} s and was killed; {said}")

    def life_ended(self, *, killed: bool) -> None:
        """The node's process ended, and everything that it sent has been taken."""
        last = list(self._open)[-IN_HAND:] if killed else []
        for frame in list(self._open):
            if frame in last:
                del self._open[frame]
                self.counts.cut_off += 1
            else:
                self._give_up(frame)
        if self._last is not None:
            self.counts.received += self._last["received"]
            self.counts.dropped += self._last["dropped"]
        self._last, self._gap = None, 0

    def _give_up(self, frame: str) -> None:
        parts = self._open.pop(frame)
        lacks = sorted(({"status"} if "bad" in self._sent[frame] else GOOD) - parts)
        if not all(self._lost[kind] > 0 for kind in lacks):
            self.find(ANSWERS, f"{frame} has {', '.join(sorted(parts))} and no {', '.join(lacks)}")
            return
        for kind in lacks:
            self._lost[kind] -= 1

    def _on_mask(self, line: dict[str, Any], image: dict[str, Any]) -> None:
        self.counts.masks += 1
        if "bad" in image:
            self.find(DAMAGE, f"mask of {line['frame']}, which is damaged: {image['bad']}")
            return
        self.counts.shifted += image["shifted"]
        self.counts.alone += not self._recalls
        self.counts.exact += not self._recalls and line["agree"] == 1.0
        if line["size"] != self._shapes[image["size"]]:
            self.find(STAMPS, f"mask of {line['frame']} is {line['size']}, its image {self._shapes[image['size']]}")
        elif line["picture"] != image["picture"]:
            found = f"picture {line['picture']} ({line['agree']:.1%} of the pixels)"
            self.find(STAMPS, f"mask of {line['frame']} is that of {found}, its image shows {image['picture']}")
        elif line["agree"] < LEAST_AGREEMENT[self._recalls]:
            self.find(STAMPS, f"mask of {line['frame']} agrees in {line['agree']:.1%} of the pixels with the expected")

    def _on_tags(self, line: dict[str, Any], image: dict[str, Any]) -> None:
        if "bad" in image:
            self.find(DAMAGE, f"tags of {line['frame']}, which is damaged: {image['bad']}")

    def _on_status(self, line: dict[str, Any], image: dict[str, Any]) -> None:
        self.counts.answered += 1
        self.counts.validity[Validity(line["validity"]).name] += 1
        refused = line["validity"] == Validity.INVALID_INPUT
        if "bad" in image:
            self.counts.bad_told[image["bad"]] += refused
            if not refused or not line["reason"] or "\n" in line["reason"]:
                self.find(
                    DAMAGE, f"{line['frame']} ({image['bad']}): {Validity(line['validity']).name} {line['reason']!r}"
                )
        elif refused:
            self.find(DAMAGE, f"{line['frame']} is good and was refused: {line['reason']}")
        taken = line["processed"] + line["invalid"]
        before = self._last["processed"] + self._last["invalid"] if self._last is not None else 0
        if taken != before + 1 + self._gap:
            self.find(ANSWERS, f"{taken - before} frames taken up from one status to the next, at {line['frame']}")
        self._gap = 0
        if not 0 <= line["received"] - taken - line["dropped"] <= 2:
            counters = {name: line[name] for name in ("received", "processed", "dropped", "invalid")}
            self.find(ANSWERS, f"the counters do not add up at {line['frame']}: {counters}")
        self._last = line

    def results(self) -> list[dict[str, Any]]:
        """Of each condition: name, text, whether it holds, how many findings, and the first of them."""
        return [
            {
                "name": name,
                "condition": text,
                "holds": not self.findings[name],
                "findings": self.findings[name],
                "first": self.named[name],
            }
            for name, text in CONDITIONS.items()
        ]


def untested(counts: Counts) -> list[str]:
    """Kinds of damage of which the node has taken up no frame."""
    return sorted(itertools.filterfalse(counts.bad_told.__getitem__, counts.bad_sent))
