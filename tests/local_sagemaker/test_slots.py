"""Who gets a place on the machine, without threads."""

from __future__ import annotations

from local_sagemaker.slots import Slots


def test_places_are_given_in_the_order_in_which_they_were_asked_for() -> None:
    woken: list[str] = []
    first, second, third = (lambda name=name: woken.append(name) for name in ("first", "second", "third"))
    slots = Slots(1)
    assert slots.take(first)
    assert not slots.take(second)
    assert not slots.take(first)  # a second place, behind the other
    assert not slots.take(third)
    assert woken == []
    slots.give_back()
    assert woken == ["second"]
    assert not slots.take(first)
    assert slots.take(second)
    slots.give_back()
    slots.leave(first)  # wants it no longer: the next is woken
    assert woken == ["second", "first", "third"]
    assert slots.take(third)


def test_free_places_are_all_given() -> None:
    woken: list[int] = []
    wakes = [lambda number=number: woken.append(number) for number in range(3)]
    slots = Slots(2)
    assert [slots.take(wake) for wake in wakes] == [True, True, False]
    slots.give_back()
    slots.give_back()
    assert slots.take(wakes[2])
    assert slots.take(wakes[0])
