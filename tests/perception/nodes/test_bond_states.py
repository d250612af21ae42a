"""The node's end of a bond, against the table of BondSM.sm, by hand."""

from __future__ import annotations

import pytest
from clip_rl_perception.nodes.bond_states import CONNECT_S, DISCONNECT_S, BondMachine, BondState

WAITING, ALIVE, DYING, DEAD = BondState.WAITING, BondState.ALIVE, BondState.DYING, BondState.DEAD


def machine(state: BondState) -> BondMachine:
    """One in this state since time 0."""
    made = BondMachine(0.0)
    if state in (ALIVE, DYING):
        made.hear("other", True, 0.0)
    if state in (DYING, DEAD):
        made.die(0.0)
    assert made.state is state
    return made


@pytest.mark.parametrize(
    ("before", "event", "after"),
    [
        (WAITING, "alive", ALIVE), (WAITING, "dead", DEAD), (WAITING, "die", DEAD),
        (ALIVE, "alive", ALIVE), (ALIVE, "dead", DEAD), (ALIVE, "die", DYING),
        (DYING, "alive", DYING), (DYING, "dead", DEAD), (DYING, "die", DYING),
        (DEAD, "alive", DEAD), (DEAD, "dead", DEAD), (DEAD, "die", DEAD),
    ],
)  # fmt: skip
def test_the_table(before: BondState, event: str, after: BondState) -> None:
    bond = machine(before)
    if event == "die":
        said = bond.die(1.0)
        assert said == (before in (WAITING, ALIVE)), "who goes says so once at least, and who is gone nothing"
    else:
        answered = bond.hear("other", event == "alive", 1.0)
        assert answered == (event == "dead" and before in (WAITING, ALIVE)), "the other's last word is answered"
    assert bond.state is after


@pytest.mark.parametrize(
    ("state", "limit_s", "word"), [(WAITING, CONNECT_S, True), (DYING, DISCONNECT_S, False)], ids=["waiting", "dying"]
)
def test_waiting_for_the_other_end_has_a_limit(state: BondState, limit_s: float, word: bool) -> None:
    bond = machine(state)
    assert bond.word(limit_s - 0.01) is word
    assert bond.word(limit_s) is None
    assert bond.state is DEAD


def test_a_bond_outlives_the_silence_of_its_manager() -> None:
    bond = machine(ALIVE)
    assert [bond.word(time) for time in (1.0, 100.0, 1e6)] == [True] * 3
    assert bond.heard_at == 0.0
    bond.hear("other", True, 1e6)
    assert bond.heard_at == 1e6


def test_who_broke_it_is_known() -> None:
    ours, theirs = machine(ALIVE), machine(ALIVE)
    ours.die(1.0)
    ours.hear("other", False, 1.1)
    theirs.hear("other", False, 1.0)
    assert (ours.state, theirs.state) == (DEAD, DEAD)
    assert (ours.broken_by_other, theirs.broken_by_other) == (False, True)


def test_a_third_end_is_ignored() -> None:
    bond = machine(ALIVE)
    assert not bond.hear("third", False, 1.0)
    assert (bond.state, bond.other, bond.heard_at) == (ALIVE, "other", 0.0)


def test_the_last_word_of_a_former_bond_ends_no_new_one() -> None:
    bond = BondMachine(0.0, former=frozenset({"before"}))
    assert not bond.hear("before", False, 0.1)
    assert bond.state is WAITING
    bond.hear("before", True, 0.2)
    assert bond.state is ALIVE, "a manager may keep its end over a pause"
