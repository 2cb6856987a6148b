"""What a run has measured, as it is kept in a file: plain numbers, nothing computed from them yet."""

import json
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path


@dataclass
class Results:
    """All that a report is written from; times are in seconds, memory is in bytes."""

    rounds: int
    quick: bool = False  # small sizes, whatever names say
    machine: dict[str, str] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    # Part, then side: what each round measured. Sides of one part were measured in turn.
    sides: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    # Curve, then series, then size: what each round measured.
    curves: dict[str, dict[str, dict[str, list[float]]]] = field(default_factory=dict)
    # Why a side, a row or a point could not be measured.
    skipped: dict[str, str] = field(default_factory=dict)

    def write(self, place: Path) -> None:
        """Keep all of it in a file, to four digits."""
        text = json.dumps(_rounded(asdict(self)), indent=1)
        place.write_text(_joined(text) + "\n", encoding="utf-8")


def read(place: Path) -> Results:
    """Return what was kept in a file."""
    return Results(**json.loads(place.read_text(encoding="utf-8")))


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return float(f"{value:.4g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value


def _joined(text: str) -> str:
    """Return JSON with each list of numbers on one line."""
    return re.sub(r"\[[^\[\]{}]*\]", lambda found: " ".join(found[0].split()), text)
