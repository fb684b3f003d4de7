"""Values: frozen, slotted, keyword-only, compared by what they hold, as a dataclass of that kind is.

    class Person(Value):
        name: str
        email: str = ""

``dataclasses`` itself takes 8 ms to import, for it reads source code, and half a millisecond for every class,
whose methods it compiles anew each time. The values that ``list`` and ``stats`` meet would make up a third of
their start. Here the methods are the same for all classes and nothing is compiled; type checkers see dataclasses
(PEP 681). What starts slowly anyway uses ``dataclasses``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Self, dataclass_transform


@dataclass_transform(frozen_default=True, kw_only_default=True)
class _ValueType(type):
    _defaults: dict[str, Any]
    _put: dict[str, Callable[[Any, Any], None]]

    def __new__(cls, name: str, bases: tuple[type, ...], namespace: dict[str, Any]) -> _ValueType:
        fields = tuple(namespace.get("__annotations__", ()))
        defaults = {field: namespace.pop(field) for field in fields if field in namespace}
        made = super().__new__(cls, name, bases, {**namespace, "__slots__": fields})
        made._defaults = defaults
        made._put = {field: getattr(made, field).__set__ for field in fields}
        return made


class Value(metaclass=_ValueType):
    """Base of values. A default is shared by all that take it, so it must not be mutable."""

    def __init__(self, **given: Any) -> None:
        kind = type(self)
        put = kind._put
        fields = kind._defaults | given if kind._defaults else given
        # A hundred thousand values are made at a time: the fields are counted, and compared where one is wrong.
        if len(fields) == len(put):
            try:
                for field in fields:
                    put[field](self, fields[field])
                return
            except KeyError:
                pass
        wrong = ", ".join(sorted(fields.keys() ^ put.keys()))
        raise TypeError(f"{type(self).__name__} is made with the wrong fields: {wrong}")

    def __setattr__(self, field: str, item: object) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    def __delattr__(self, field: str) -> None:
        raise AttributeError(f"{type(self).__name__} cannot be changed")

    def _items(self) -> tuple[Any, ...]:
        return tuple(getattr(self, field) for field in type(self)._put)

    def replace(self, **changes: Any) -> Self:
        """A copy with other items in these fields."""
        return type(self)(**{field: getattr(self, field) for field in type(self)._put} | changes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Value) or type(other) is not type(self):
            return NotImplemented
        return self._items() == other._items()

    def __hash__(self) -> int:
        return hash(self._items())

    def __repr__(self) -> str:
        shown = ", ".join(f"{field}={getattr(self, field)!r}" for field in type(self)._put)
        return f"{type(self).__name__}({shown})"
