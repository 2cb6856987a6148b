"""Where output lives: slot files used again, kept files, nothing for silence."""

import errno
import os

import pytest

from taskrunner.processes import bounded_output, output
from taskrunner.processes.output import SMALL, Rescued, Slots

ME = os.geteuid()
LIMIT = 1_000_000


def sized(fd):
    """How many bytes were written to a slot, and all of them when they are few."""
    found, small = output.gather(fd, LIMIT)
    return found.written, small


def gathered(slot):
    return output.gather(slot.fd, LIMIT)[0]


@pytest.fixture
def folder(home):
    place = home / "output"
    place.mkdir(mode=0o700)
    return place


@pytest.fixture
def slots(folder):
    made = Slots(str(folder), "7-abcd")
    yield made
    made.close()


def test_a_slot_file_is_private_and_used_again(slots, folder):
    first = slots.take(ME)
    assert (folder / first.name).stat().st_mode & 0o777 == 0o600
    os.write(first.fd, b"some output")
    slots.put_back(first)
    again = slots.take(ME)
    assert again is first
    assert os.fstat(again.fd).st_size == 0
    os.write(again.fd, b"x")  # appended, so at the start
    assert sized(again.fd) == (1, b"x")
    slots.put_back(again)


def test_a_slot_that_somebody_else_has_open_is_never_used_again(slots, folder):
    first = slots.take(ME)
    with (folder / first.name).open("ab"):
        slots.put_back(first)
        second = slots.take(ME)
    assert second.inode != first.inode
    assert not (folder / first.name).exists()
    slots.put_back(second)


def test_large_output_keeps_its_file(slots, folder):
    slot = slots.take(ME)
    os.write(slot.fd, b"x" * (SMALL + 1))
    assert sized(slot.fd) == (SMALL + 1, b"")
    slots.keep(slot, 42, gathered(slot))
    assert [place.name for place in folder.iterdir()] == ["42.log"]


def test_output_up_to_the_limit_is_small(slots):
    slot = slots.take(ME)
    os.write(slot.fd, b"x" * SMALL)
    assert sized(slot.fd) == (SMALL, b"x" * SMALL)
    slots.put_back(slot)


def test_closing_removes_the_slot_files(slots, folder):
    taken = [slots.take(ME) for _ in range(3)]
    for slot in taken:
        slots.put_back(slot)
    slots.close()
    assert list(folder.iterdir()) == []


def test_a_slot_file_that_stands_already_is_not_written_to(slots, folder):
    (folder / "7-abcd.1").symlink_to("/etc/hostname")
    with pytest.raises(FileExistsError):
        slots.take(ME)


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
def test_a_slot_that_its_user_can_still_reach_is_never_used_again(slots, folder, reach):
    slot = slots.take(ME)
    if reach == "a second link":
        os.link(folder / slot.name, folder / "mine")
    else:
        os.fchmod(slot.fd, 0o666)
    slots.put_back(slot)
    assert slots.take(ME).name != slot.name
    assert not (folder / slot.name).exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run tasks as another user")
def test_a_slot_is_used_again_by_the_same_user_only(slots, folder):
    theirs = slots.take(65534)
    slots.put_back(theirs)
    assert slots.take(ME) is not theirs
    assert slots.take(65534) is theirs
    slots.put_back(theirs)


def test_a_slot_file_that_somebody_removed_costs_no_output(slots, folder):
    slot = slots.take(ME)
    os.write(slot.fd, b"x" * (SMALL + 1))
    (folder / slot.name).unlink()
    slots.keep(slot, 42, gathered(slot))
    assert (folder / "42.log").stat().st_size == SMALL + 1
    assert (folder / "42.log").stat().st_mode & 0o777 == 0o600
    again = slots.take(ME)
    (folder / again.name).unlink()
    slots.put_back(again)
    slots.close()


def test_a_file_is_read_from_an_offset_in_pieces(folder, monkeypatch):
    monkeypatch.setattr(bounded_output, "CHUNK", 4)
    (folder / "42.log").write_bytes(b"0123456789")
    (folder / "s.1").write_bytes(b"0123456789")
    assert list(output.rest(str(folder), 42, 10, 3)) == [b"3456", b"789"]
    assert list(output.rest(str(folder), 43, 10, 3)) == []
    assert output.part(str(folder), "s.1", None, 8) == (b"89", 10)
    assert output.part(str(folder), "s.1", None, 10) == (b"", 10)
    assert output.part(str(folder), "s.2", None, 10) == (b"", 10)
