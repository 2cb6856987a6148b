"""What was likely meant by a word that nobody knows: a verb, a flag, a name, a key.

It must not know which words there are.
"""

from collections.abc import Iterable

LONGEST = 60  # letters that are looked at
MOST = 10_000  # words that are compared


def nearest(word: str, known: Iterable[str], *, alike: float = 0.6) -> str | None:
    """Return the word that is most like one that is unknown, None when none is as much alike as that, of 1."""
    import difflib

    meant = [each for each, _ in zip(known, range(MOST), strict=False)]
    folded = {each.lower(): each for each in meant}
    near = difflib.get_close_matches(word[:LONGEST].lower(), folded, n=1, cutoff=alike)
    return folded[near[0]] if near else None


def advice(word: str, known: Iterable[str], otherwise: str) -> str:
    """Return the question whether that was meant, or what to say when there is no such word."""
    near = nearest(word, known)
    return otherwise if near is None else f"did you mean {near}?"
