"""Locks the kernel frees at death."""

import os
import subprocess
import sys
import threading

import pytest

from taskrunner.home import lock

HOLDER = (
    "import sys, fcntl, os\n"
    "fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT, 0o600)\n"
    "fcntl.flock(fd, fcntl.LOCK_EX)\n"
    "print('held', flush=True)\n"
    "sys.stdin.read()\n"
)


@pytest.fixture
def holder(tmp_path):
    """A process that holds the lock on `tmp_path/lock` until its stdin is closed."""
    argv = [sys.executable, "-c", HOLDER, str(tmp_path / "lock")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"held\n"
        yield process
        process.kill()


def test_a_lock_held_by_another_process_is_busy(tmp_path, holder):
    with lock.held(str(tmp_path / "lock")) as fd:
        assert fd is None


def test_a_lock_is_free_as_soon_as_its_holder_is_killed(tmp_path, holder):
    assert lock.is_held(str(tmp_path / "lock"))
    holder.kill()
    holder.wait()
    assert not lock.is_held(str(tmp_path / "lock"))
    with lock.held(str(tmp_path / "lock")) as fd:
        assert fd is not None


def test_waiting_takes_the_lock_when_it_comes_free(tmp_path, holder):
    threading.Timer(0.2, holder.stdin.close).start()
    with lock.held(str(tmp_path / "lock"), wait=10) as fd:
        assert fd is not None


def test_two_in_one_process_exclude_each_other(tmp_path):
    place = str(tmp_path / "lock")
    with lock.held(place) as first, lock.held(place) as second:
        assert first is not None and second is None
    with lock.held(place) as again:
        assert again is not None


def test_the_lock_file_stays_in_place(tmp_path):
    with lock.held(str(tmp_path / "lock")):
        inode = (tmp_path / "lock").stat().st_ino
    assert (tmp_path / "lock").stat().st_ino == inode


def test_asking_who_holds_a_lock_that_does_not_exist(tmp_path):
    assert not lock.is_held(str(tmp_path / "nothing"))


def test_a_file_of_our_own_is_held_and_gone_afterwards(tmp_path):
    place = tmp_path / "own"
    with lock.held_own(str(place)):
        assert lock.is_held(str(place))
    assert not place.exists()


def test_a_file_of_our_own_swept_away_before_it_was_locked_is_made_again(tmp_path, monkeypatch):
    place = tmp_path / "own"
    take, tries = lock._take, []

    def swept_first(fd, wait):
        if not tries:
            place.unlink()
        tries.append(fd)
        return take(fd, wait)

    monkeypatch.setattr(lock, "_take", swept_first)
    with lock.held_own(str(place)):
        assert place.exists() and lock.is_held(str(place))
    assert len(tries) == 2


def test_a_second_descriptor_on_a_file_is_noticed(tmp_path):
    place = tmp_path / "file"
    fd = os.open(place, os.O_RDWR | os.O_CREAT)
    try:
        assert lock.nobody_else_has_open(fd)
        with place.open("ab"):
            assert not lock.nobody_else_has_open(fd)
        assert lock.nobody_else_has_open(fd)
    finally:
        os.close(fd)


def test_asking_for_a_lease_while_others_open_the_file_does_no_harm(tmp_path):
    place = tmp_path / "file"
    fd = os.open(place, os.O_RDWR | os.O_CREAT)
    code = "import sys\nwhile True: open(sys.argv[1], 'rb').close()"
    with subprocess.Popen([sys.executable, "-c", code, str(place)]) as process:
        for _ in range(3000):  # SIGIO would end this very process
            lock.nobody_else_has_open(fd)
        process.kill()
    os.close(fd)


def test_only_the_lock_files_of_the_dead_are_removed(tmp_path, holder):
    place = tmp_path / "lock"
    assert not lock.remove_if_free(str(place))
    assert place.exists()
    holder.kill()
    holder.wait()
    assert lock.remove_if_free(str(place))
    assert not place.exists()
    assert lock.remove_if_free(str(place))


def test_a_hole_takes_no_disk_and_moves_nothing(tmp_path):
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT | os.O_APPEND)
    os.write(fd, b"a" * 1_000_000)
    before = os.fstat(fd)
    lock.punch_hole(fd, 4096, 80 * 4096)
    os.write(fd, b"b")
    assert os.pread(fd, 2, 4095) == b"a\0"
    assert os.pread(fd, 2, 999_999) == b"ab"
    assert os.fstat(fd).st_blocks <= before.st_blocks - 80 * 8 + 8
    os.close(fd)


def test_where_there_can_be_no_hole_the_kernel_says_so(tmp_path):
    reader, writer = os.pipe()
    with pytest.raises(OSError, match="Inappropriate ioctl"):
        lock.punch_hole(writer, 0, 4096)
    os.close(reader)
    os.close(writer)
