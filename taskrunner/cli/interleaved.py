"""Print the output of several runs: whole lines, each after the name of its task."""

from collections.abc import Callable

from taskrunner.model.answers import Piece

LONGEST = 64 * 1024  # bytes of an unfinished line, after which it is printed
NAME = 24  # the most columns that names are padded to


class Interleaved:
    """Takes pieces of output as they arrive and writes whole lines."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        """Take the function that writes."""
        self._write = write
        self._begun: dict[int, bytes] = {}  # unfinished lines, by run
        self._width = 0

    def __call__(self, piece: Piece) -> None:
        """Write the lines that this piece completes; at the end of a run the rest."""
        run, text = piece.run, self._begun.pop(piece.run.id, b"") + piece.data
        whole, end, rest = text.rpartition(b"\n")
        if rest and (piece.what == "ended" or len(rest) > LONGEST):
            whole, end, rest = text, b"\n", b""
        if rest:
            self._begun[run.id] = rest
        if end:
            self._width = max(self._width, min(NAME, len(run.task)))
            name = f"{run.task:<{self._width}} | ".encode()
            self._write(b"".join(name + line + b"\n" for line in whole.split(b"\n")))
