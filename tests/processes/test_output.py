"""Where output lives: output files used again, kept files, nothing for silence."""

import errno
import os

import pytest

from taskrunner.processes import bounded_output, output
from taskrunner.processes.output import SMALL, OutputFiles, Rescued

ME = os.geteuid()
LIMIT = 1_000_000


def sized(fd):
    """How many bytes were written to a slot, and all of them when they are few."""
    found, small = output.gather(fd, LIMIT)
    return found.written, small


def gathered(file):
    return output.gather(file.fd, LIMIT)[0]


@pytest.fixture
def folder(home):
    place = home / "output"
    place.mkdir(mode=0o700)
    return place


@pytest.fixture
def files(folder):
    made = OutputFiles(str(folder), "7-abcd")
    yield made
    made.close()


def test_a_file_is_private_and_used_again(files, folder):
    first = files.take(ME)
    assert (folder / first.name).stat().st_mode & 0o777 == 0o600
    os.write(first.fd, b"some output")
    files.put_back(first)
    again = files.take(ME)
    assert again is first
    assert os.fstat(again.fd).st_size == 0
    os.write(again.fd, b"x")  # appended, so at the start
    assert sized(again.fd) == (1, b"x")
    files.put_back(again)


def test_a_file_that_somebody_else_has_open_is_never_used_again(files, folder):
    first = files.take(ME)
    with (folder / first.name).open("ab"):
        files.put_back(first)
        second = files.take(ME)
    assert second.inode != first.inode
    assert not (folder / first.name).exists()
    files.put_back(second)


def test_large_output_keeps_its_file(files, folder):
    file = files.take(ME)
    os.write(file.fd, b"x" * (SMALL + 1))
    assert sized(file.fd) == (SMALL + 1, b"")
    files.keep(file, 42, gathered(file))
    assert [place.name for place in folder.iterdir()] == ["42.log"]


def test_output_up_to_the_limit_is_small(files):
    file = files.take(ME)
    os.write(file.fd, b"x" * SMALL)
    assert sized(file.fd) == (SMALL, b"x" * SMALL)
    files.put_back(file)


def test_closing_removes_the_files(files, folder):
    taken = [files.take(ME) for _ in range(3)]
    for file in taken:
        files.put_back(file)
    files.close()
    assert list(folder.iterdir()) == []


def test_a_file_that_stands_already_is_not_written_to(files, folder):
    (folder / "7-abcd.1").symlink_to("/etc/hostname")
    with pytest.raises(FileExistsError):
        files.take(ME)


@pytest.mark.parametrize("size", [0, 10, SMALL])
def test_small_output_of_a_dead_supervisor_is_rescued(folder, size):
    (folder / "9-dead.1").write_bytes(b"x" * size)
    assert output.rescue(str(folder), "9-dead.1", 42, LIMIT) == Rescued(size, b"x" * size)


def test_large_output_of_a_dead_supervisor_keeps_its_file(folder):
    (folder / "9-dead.1").write_bytes(b"x" * (SMALL + 1))
    assert output.rescue(str(folder), "9-dead.1", 42, LIMIT) == Rescued(SMALL + 1)
    assert [place.name for place in folder.iterdir()] == ["42.log"]
    # It had been kept before its supervisor died.
    assert output.rescue(str(folder), "9-dead.1", 42, LIMIT) == Rescued(SMALL + 1)


def test_output_that_is_gone_has_no_size(folder):
    assert output.rescue(str(folder), "9-dead.1", 42, LIMIT) == Rescued()


def test_output_of_a_dead_supervisor_that_cannot_be_read_is_said_to_be_lost(folder, monkeypatch):
    def broken(*_):
        raise OSError(errno.EIO, "Input/output error")

    (folder / "9-dead.1").write_bytes(b"x")
    monkeypatch.setattr(output, "gather", broken)
    note = "its output was lost: Input/output error"
    assert output.rescue(str(folder), "9-dead.1", 42, LIMIT) == Rescued(note=note)


def test_slot_files_are_known_by_their_supervisor_and_kept_ones_by_their_run(folder):
    for name in ("9-dead.1", "9-dead.12", "8-live.1", "42.log"):
        (folder / name).touch()
    found = output.owners(str(folder))
    assert {owner: len(places) for owner, places in found.items()} == {"9-dead": 2, "8-live": 1}


@pytest.mark.parametrize("reach", ["a second link", "a mode of its own"])
def test_a_file_that_its_user_can_still_reach_is_never_used_again(files, folder, reach):
    file = files.take(ME)
    if reach == "a second link":
        os.link(folder / file.name, folder / "mine")
    else:
        os.fchmod(file.fd, 0o666)
    files.put_back(file)
    assert files.take(ME).name != file.name
    assert not (folder / file.name).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run tasks as another user")
def test_a_file_is_used_again_by_the_same_user_only(files, folder):
    theirs = files.take(65534)
    files.put_back(theirs)
    assert files.take(ME) is not theirs
    assert files.take(65534) is theirs
    files.put_back(theirs)


def test_a_file_that_somebody_removed_costs_no_output(files, folder):
    file = files.take(ME)
    os.write(file.fd, b"x" * (SMALL + 1))
    (folder / file.name).unlink()
    files.keep(file, 42, gathered(file))
    assert (folder / "42.log").stat().st_size == SMALL + 1
    assert (folder / "42.log").stat().st_mode & 0o777 == 0o600
    again = files.take(ME)
    (folder / again.name).unlink()
    files.put_back(again)
    files.close()


def test_a_file_is_read_from_an_offset_in_pieces(folder, monkeypatch):
    monkeypatch.setattr(bounded_output, "CHUNK", 4)
    (folder / "42.log").write_bytes(b"0123456789")
    (folder / "s.1").write_bytes(b"0123456789")
    assert list(output.rest(str(folder), 42, 10, 3)) == [b"3456", b"789"]
    assert list(output.rest(str(folder), 43, 10, 3)) == []
    assert output.part(str(folder), "s.1", None, 8) == (b"89", 10)
    assert output.part(str(folder), "s.1", None, 10) == (b"", 10)
    assert output.part(str(folder), "s.2", None, 10) == (b"", 10)
