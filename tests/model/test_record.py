"""Records: what dataclasses would make of the same classes, without their price."""

import copy
import dataclasses
import pickle
import subprocess
import sys
from typing import ClassVar

import pytest

from taskrunner.model.record import field, like, mutable, names_of, record


@record
class Point:
    """A place."""

    dimensions: ClassVar[int] = 2
    x: int
    y: int = 0
    tags: list[str] = field(default_factory=list)

    @property
    def sum(self) -> int:
        """Both together."""
        return self.x + self.y


@record
class Named(Point):
    """A place with a name."""

    name: str = ""


@record
class Positive:
    """A number above 0."""

    number: int

    def __post_init__(self) -> None:
        if self.number <= 0:
            raise ValueError("too small")


@mutable
class Counter:
    """Counts."""

    at: int = 0
    seen: list[int] = field(default_factory=list)


def test_fields_are_taken_in_order_and_by_name_and_have_defaults():
    assert names_of(Point) == ("x", "y", "tags")
    made = Point(1, tags=["a"])
    assert (made.x, made.y, made.tags, made.sum, made.dimensions) == (1, 0, ["a"], 1, 2)


def test_a_default_that_is_made_anew_is_not_shared():
    Point(1).tags.append("mine")
    assert Point(1).tags == []


@pytest.mark.parametrize(
    ("given", "named"),
    [((), {}), ((1, 2, [], 4), {}), ((1,), {"z": 3}), ((1, 2, []), {"z": 3})],
    ids=["none", "too many", "one too many by name", "an unknown one beside all"],
)
def test_what_does_not_fit_the_fields_is_refused(given, named):
    with pytest.raises(TypeError, match="Point takes each of x, y, tags once, and no other field"):
        Point(*given, **named)


def test_a_record_equals_another_of_its_class_with_the_same_fields():
    assert Point(1, 2) == Point(1, y=2)
    assert Point(1, 2) != Point(2, 2)
    assert Point(1, 2) != Named(1, 2)
    assert Point(1, 2) != (1, 2, [])
    assert hash(Positive(3)) == hash(Positive(3))
    assert len({Positive(3), Positive(3), Positive(4)}) == 2


def test_a_record_cannot_be_changed():
    made = Point(1)
    with pytest.raises(dataclasses.FrozenInstanceError, match="Point is frozen"):
        made.x = 2
    with pytest.raises(AttributeError):
        del made.x
    assert made == Point(1)


def test_without_dataclasses_a_change_is_refused_all_the_same():
    text = (
        "import sys; from taskrunner.model.values import Outcome\n"
        "try: Outcome().error = 'x'\n"
        "except AttributeError: print('refused', 'dataclasses' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout == "refused False\n"


def test_a_mutable_one_changes_and_equals_itself_alone():
    made = Counter()
    made.at += 1
    made.seen.append(1)
    assert (made.at, made.seen, Counter().seen) == (1, [1], [])
    assert made != Counter(1, [1])
    assert made == made


def test_like_gives_another_with_some_values_changed_and_checks_it():
    made = Point(1, 2)
    assert like(made, y=3) == Point(1, 3)
    assert made.y == 2
    with pytest.raises(TypeError):
        like(made, z=3)
    with pytest.raises(ValueError, match="too small"):
        like(Positive(1), number=0)


def test_what_a_class_checks_is_checked_of_a_new_one():
    with pytest.raises(ValueError, match="too small"):
        Positive(0)


def test_it_shows_its_fields():
    assert repr(Named(1, name="here")) == "Named(x=1, y=0, tags=[], name='here')"


def test_a_class_adds_its_fields_to_those_it_inherits():
    assert names_of(Named) == ("x", "y", "tags", "name")
    assert Named(1, 2, [], "n").sum == 3


def test_it_can_be_matched_copied_and_pickled():
    match Point(1, 2):
        case Point(x, y):
            assert (x, y) == (1, 2)
    assert copy.deepcopy(Point(1, 2)) == Point(1, 2)
    assert pickle.loads(pickle.dumps(Point(1, 2))) == Point(1, 2)


def test_to_others_it_is_a_dataclass():
    made = Point(1, tags=["a"])
    assert dataclasses.is_dataclass(made)
    assert [each.name for each in dataclasses.fields(Point)] == ["x", "y", "tags"]
    assert dataclasses.asdict(made) == {"x": 1, "y": 0, "tags": ["a"]}
    assert dataclasses.replace(made, x=5) == Point(5, 0, ["a"])
