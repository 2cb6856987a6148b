"""Records: values with named fields, like dataclasses, but faster to define.

`dataclasses` compiles six functions for each class, and imports `inspect` to do so: a third of the time that
a tick with something to do took to start (decision record 11). Here all records share the same few functions.
For other code they are dataclasses: `dataclasses.asdict`, `fields` and `replace` accept them.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, TypeVar, dataclass_transform, get_origin

Record = TypeVar("Record")
Kind = TypeVar("Kind", bound=type)


class Made:
    """A default that is created for each record."""

    def __init__(self, default_factory: Callable[[], Any]) -> None:
        """Take the function that creates it."""
        self.default_factory = default_factory


class Form:
    """The description of a class of records; `check` is its `__post_init__`."""

    # No NamedTuple: from Python 3.14 on it imports `annotationlib`, which reads the syntax of Python.
    __slots__ = ("check", "defaults", "factories", "names", "size")

    def __init__(
        self,
        names: tuple[str, ...],
        defaults: Mapping[str, Any],
        factories: tuple[tuple[str, Callable[[], Any]], ...],
        check: Callable[[Any], None] | None,
    ) -> None:
        """Take what it describes."""
        self.names, self.size = names, len(names)
        self.defaults, self.factories, self.check = defaults, factories, check


def field(*, default_factory: Callable[[], Any]) -> Any:
    """Return a default that is created for each record."""
    return Made(default_factory)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(cls: Kind) -> Kind:
    """Make a class a frozen record of the fields it names, equal to others with equal fields."""
    for name, function in FROZEN.items():
        if cls.__dict__.get(name) is None:
            setattr(cls, name, function)
    return mutable(cls)


@dataclass_transform(eq_default=False, field_specifiers=(field,))
def mutable(cls: Kind) -> Kind:
    """Make a class a record of the fields it names that may change, equal to itself alone."""
    made: Any = cls
    own = [name for name, kind in made.__annotations__.items() if _varies(kind)]
    found = (*getattr(made, "__match_args__", ()), *own)
    given = {name: getattr(made, name) for name in found if hasattr(made, name)}
    defaults = {name: each for name, each in given.items() if type(each) is not Made}
    factories = [(name, each.default_factory) for name, each in given.items() if type(each) is Made]
    check = getattr(made, "__post_init__", None)
    made.__record__ = Form(found, defaults, tuple(factories), check)
    made.__init__ = _maker(made.__record__)
    made.__match_args__ = found  # type: ignore[misc]
    made.__dataclass_fields__ = ForOthers()
    made.__repr__ = _repr
    return cls


def _varies(kind: object) -> bool:
    """Tell a field from a constant of the class."""
    if isinstance(kind, str):
        return not kind.startswith("ClassVar")
    return get_origin(kind) is not ClassVar


def names_of(kind: type) -> tuple[str, ...]:
    """Return the names of the fields of a record, in their order."""
    found: tuple[str, ...] = kind.__record__.names  # type: ignore[attr-defined]
    return found


def like(made: Record, **values: Any) -> Record:
    """Return a record like this one, with other values."""
    kind = type(made)
    form: Form = kind.__record__  # type: ignore[attr-defined]
    new = object.__new__(kind)
    new.__dict__.update(made.__dict__, **values)
    if len(new.__dict__) != form.size:
        raise _wrong(new, form)
    if form.check is not None:
        form.check(new)
    return new


def _maker(form: Form) -> Callable[..., None]:
    """Return the `__init__` of a class of records."""
    names, size, check = form.names, form.size, form.check
    defaults, factories = form.defaults, form.factories

    def make(self: Any, *given: Any, **named: Any) -> None:
        values = self.__dict__
        if len(given) < size:
            values.update(defaults)
            for name, factory in factories:
                values[name] = factory()
        values.update(zip(names, given), **named)  # noqa: B905  the lengths are compared
        twice = given and named and not named.keys().isdisjoint(names[: len(given)])
        if len(values) != size or len(given) > size or twice:
            raise _wrong(self, form)
        if check is not None:
            check(self)

    return make


def _wrong(made: Any, form: Form) -> TypeError:
    names = ", ".join(form.names)
    return TypeError(f"{type(made).__name__} takes each of {names} once, and no other field")


def _values(made: Any) -> tuple[Any, ...]:
    return tuple(made.__dict__[name] for name in made.__record__.names)


def _equal(self: Any, other: object) -> bool:
    return _values(self) == _values(other) if type(self) is type(other) else NotImplemented


def _hash(self: Any) -> int:
    try:
        return hash(_values(self))
    except TypeError:  # a dict or a list: equal records have equal hashes of the other fields
        return hash(tuple(map(_hash_of, _values(self))))


def _hash_of(value: object) -> int:
    try:
        return hash(value)
    except TypeError:
        return 0


def _repr(self: Any) -> str:
    pairs = zip(self.__record__.names, _values(self), strict=True)
    return f"{type(self).__qualname__}({', '.join(f'{name}={value!r}' for name, value in pairs)})"


def _refuse(self: Any, name: str, _: object = None) -> None:
    module = sys.modules.get("dataclasses")
    kind = AttributeError if module is None else module.FrozenInstanceError
    raise kind(f"a {type(self).__name__} is frozen: its {name} cannot be changed")


FROZEN = {"__eq__": _equal, "__hash__": _hash, "__setattr__": _refuse, "__delattr__": _refuse}


class ForOthers:
    """The attributes that `dataclasses` and its users look for in a class, made on demand."""

    def __get__(self, _: object, kind: Any) -> dict[str, Any]:
        """Return the fields as `dataclasses` describes them."""
        module = sys.modules.get("dataclasses")
        if module is None:  # only code that has imported it asks
            raise AttributeError("__dataclass_fields__")
        twin = module.make_dataclass(kind.__name__, _described(module, kind))
        kind.__dataclass_fields__ = twin.__dataclass_fields__
        found: dict[str, Any] = kind.__dataclass_fields__
        return found


def _described(module: Any, kind: Any) -> Iterator[tuple[str, Any, Any]]:
    form: Form = kind.__record__
    made_anew = dict(form.factories)
    for name in form.names:
        if name in made_anew:
            given = module.field(default_factory=made_anew[name])
        else:
            given = module.field(default=form.defaults.get(name, module.MISSING))
        yield name, Any, given
