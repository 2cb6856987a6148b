"""The output of several runs on one page: whole lines, each after the name of its task."""

from collections.abc import Callable

from taskrunner.model.answers import Piece

LONGEST = 64 * 1024  # bytes of a line that is not waited for any longer
NAME = 24  # columns that names are padded to at most


class Interleaved:
    """Takes pieces of outputs as they come and writes whole lines."""

    def __init__(self, write: Callable[[bytes], object]) -> None:
        """Take what writes."""
        self._write = write
        self._begun: dict[int, bytes] = {}  # lines that are not whole yet, by run
        self._width = 0

    def __call__(self, piece: Piece) -> None:
        """Write the lines that are whole with this piece; at the end of a run the rest."""
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
