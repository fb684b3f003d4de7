"""Values behave as frozen, slotted, keyword-only dataclasses do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from gitsess.values import Value


class Place(Value):
    """Somewhere."""

    name: str
    height_m: int = 0
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return self.name.title()


class Other(Value):
    name: str
    height_m: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Twin:
    name: str
    height_m: int = 0
    notes: tuple[str, ...] = ()


def test_fields_are_as_given_or_as_their_defaults() -> None:
    """A field that is not given has its default; properties work; the docstring stays."""
    place = Place(name="the hill")
    assert (place.name, place.height_m, place.notes, place.title) == ("the hill", 0, (), "The Hill")
    assert Place(height_m=7, name="x").height_m == 7
    assert Place.__doc__ == "Somewhere."


@pytest.mark.parametrize("given", [{}, {"height_m": 1}, {"name": "x", "depth": 1}, {"nam": "x"}])
def test_wrong_fields_are_refused_by_name(given: dict[str, Any]) -> None:
    """A missing field and an unknown one are a TypeError that names it, as with a dataclass."""
    wrong = sorted(({"name"} - given.keys()) | (given.keys() - {"name", "height_m", "notes"}))
    with pytest.raises(TypeError, match=f"Place is made with the wrong fields: .*{wrong[0]}"):
        Place(**given)
    with pytest.raises(TypeError):
        Twin(**given)


def test_fields_are_given_by_name_alone() -> None:
    """A positional argument is a TypeError, also where every field is there."""
    with pytest.raises(TypeError):
        Place("y", name="x")  # type: ignore[misc]


def test_a_value_cannot_be_changed() -> None:
    """Neither a field nor anything else can be set or deleted."""
    place: Any = Place(name="x")
    for field in ("name", "depth"):
        with pytest.raises(AttributeError):
            setattr(place, field, "y")
    with pytest.raises(AttributeError):
        del place.name
    assert place.name == "x"
    assert not hasattr(place, "__dict__")


def test_values_are_equal_that_hold_the_same() -> None:
    """Equality and hash are by type and fields; another type with the same fields is another value."""
    assert Other(name="x") == Other(name="x", height_m=0)
    assert hash(Other(name="x")) == hash(Other(name="x", height_m=0))
    assert Place(name="x") != Place(name="y")
    assert Place(name="x") != Other(name="x")
    assert Place(name="x") != ("x", 0, ())


def test_a_copy_differs_in_what_was_named() -> None:
    """``replace`` changes the named fields, leaves the value it was asked of, and refuses unknown ones."""
    low = Place(name="x", notes=("a",))
    high = low.replace(height_m=9)
    assert high == Place(name="x", height_m=9, notes=("a",))
    assert low.height_m == 0
    with pytest.raises(TypeError, match="depth"):
        low.replace(depth=1)


def test_it_reads_as_a_dataclass_does() -> None:
    """``repr`` is that of a dataclass with the same fields."""
    assert repr(Place(name="x")).replace("Place", "Twin") == repr(Twin(name="x"))
