"""What is kept of an output that is too large: real files, with holes and where there can be none."""

import errno
import os
import re
import subprocess
import threading

import pytest
from hypothesis import given, strategies as some

from taskrunner.home import lock
from taskrunner.processes import bounded_output

LIMIT = 100_000
MARK = re.compile(rb"\A\n\[taskrunner: (\d+) bytes left out\]\n")


def no_hole(fd, start, length):
    raise OSError(errno.EOPNOTSUPP, "no holes here")


@pytest.fixture(params=["with holes", "without holes"])
def holes(request, monkeypatch):
    """The two ways to cut; and each byte too much is worth a cut."""
    monkeypatch.setattr(bounded_output, "SLACK", 0)
    if request.param == "without holes":
        monkeypatch.setattr(lock, "punch_hole", no_hole)


@pytest.fixture
def file(tmp_path):
    """A file as a command gets it, open for appending."""
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    yield fd
    os.close(fd)


def stream(start, end):
    """The bytes from one place to another of an output without end, in which no two parts are alike."""
    first, last = start // 8, -(-end // 8)
    return b"".join(b"%07d\n" % n for n in range(first, last))[start - 8 * first :][: end - start]


def write(fd, start, end):
    os.write(fd, stream(start, end))
    return end


def kept(fd, limit=LIMIT, cut=None):
    return b"".join(bounded_output.pieces(fd, bounded_output.excerpt(fd, limit, cut)))


def expected(total, limit=LIMIT):
    if total <= limit:
        return stream(0, total)
    half = limit // 2
    lost = total - limit
    return stream(0, half) + bounded_output.mark(lost) + stream(total - (limit - half), total)


def true(block, start, end):
    """Whether a block is what was written from one place to another, with a mark for what is lost."""
    found = MARK.match(block)
    lost, data = (int(found[1]), block[found.end() :]) if found else (0, block)
    return data == stream(start + lost, end)


def test_an_output_within_its_limit_is_not_touched(file):
    write(file, 0, LIMIT)
    assert not bounded_output.bound(file, LIMIT)
    assert bounded_output.excerpt(file, LIMIT).whole
    assert kept(file) == stream(0, LIMIT)


def test_an_output_without_end_stays_small_on_the_disk(file, holes):
    written, cut = 0, None
    for _ in range(50):
        written = write(file, written, written + 70_000)
        cut = bounded_output.bound(file, LIMIT, cut)
        assert os.fstat(file).st_blocks * 512 < LIMIT + 80_000
        assert bounded_output.written(file, cut) == written
    assert kept(file, LIMIT, cut) == expected(written)


@pytest.mark.parametrize("limit", [0, 1, 7, 100, 4096, 5000])
def test_a_limit_below_a_block_is_exact_in_the_end(file, holes, limit):
    written, cut = 0, None
    for _ in range(20):
        written = write(file, written, written + 9000)
        cut = bounded_output.bound(file, limit, cut)
    assert kept(file, limit, cut) == expected(written, limit)


def test_a_file_that_grew_by_a_little_is_not_worth_a_cut(file):
    write(file, 0, LIMIT + 5000)
    assert not bounded_output.bound(file, LIMIT)
    assert kept(file) == expected(LIMIT + 5000)


@pytest.mark.slow
@given(
    steps=some.lists(some.tuples(some.sampled_from("wbr"), some.integers(1, 90_000)), max_size=30)
)
@pytest.mark.parametrize("holes_there", [True, False])
def test_a_reader_gets_each_byte_once_or_is_told_of_it(tmp_path_factory, steps, holes_there):
    place = tmp_path_factory.mktemp("file") / "file"
    fd = os.open(place, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bounded_output, "SLACK", 0)
        patch.setattr(bounded_output, "CHUNK", 30_000)
        if not holes_there:
            patch.setattr(lock, "punch_hole", no_hole)
        written, sent, cut = 0, 0, None
        for step, number in steps:
            if step == "w":
                written = write(fd, written, written + number)
            elif step == "b":
                cut = bounded_output.bound(fd, LIMIT, cut)
            else:
                block, end = bounded_output.part(fd, cut, sent)
                assert true(block, sent, end)
                sent = end
        content, in_the_end = kept(fd, LIMIT, cut), bounded_output.excerpt(fd, LIMIT, cut).cut
        assert content == expected(written)
        after = bounded_output.rest_of(content, written, sent, in_the_end)
        assert true(after, sent, written) or after == content[sent:]
    os.close(fd)


@pytest.mark.parametrize("digits", [1, 2, 3, 4])
def test_what_is_kept_goes_on_where_a_reader_is(tmp_path, digits):
    limit = 301
    for total in range(limit + 10**digits - 2, limit + 10**digits + 3):
        content = expected(total, limit)
        (tmp_path / "kept").write_bytes(content)
        fd = os.open(tmp_path / "kept", os.O_RDONLY)
        cut = bounded_output.Cut(150, total - limit)
        assert bounded_output.written(fd, cut) == total
        for sent in {0, 1, 149, 150, 151, total - 152, total - 151, total - 150, total - 1, total}:
            after = bounded_output.rest_of(content, total, sent, cut)
            assert b"".join(bounded_output.rest(fd, total, sent, cut)) == after
            assert after == content[sent:] if sent <= 150 else true(after, sent, total)
        assert (
            bounded_output.rest_of(content, total, total + 1, cut) == content
        )  # it was emptied meanwhile
        os.close(fd)


def test_an_output_that_holds_a_mark_of_its_own_is_shown_as_it_is(file):
    text = b"x" * 100 + bounded_output.mark(77) + b"y" * 100
    os.write(file, text)
    assert kept(file, len(text)) == text
    assert bounded_output.part(file, None, 0) == (text, len(text))
    assert bounded_output.written(file) == len(text)
    assert b"".join(bounded_output.rest(file, len(text), 0)) == text
    assert bounded_output.rest_of(text, len(text), 150) == text[150:]


def test_any_bytes_are_kept_as_they_are(file, holes):
    head, tail = b"\0\xff\xfe" * 20_000, b"\xc3\0\x80" * 20_000
    os.write(file, head + b"m" * 500_000 + tail)
    cut = bounded_output.bound(file, LIMIT)
    lost = len(head) + 500_000 + len(tail) - LIMIT
    assert kept(file, LIMIT, cut) == head[:50_000] + bounded_output.mark(lost) + tail[-50_000:]


def test_a_command_that_empties_its_output_begins_anew(file, holes):
    write(file, 0, 500_000)
    cut = bounded_output.bound(file, LIMIT)
    _, sent = bounded_output.part(file, cut, 0)
    os.ftruncate(file, 0)
    os.write(file, b"anew")
    assert bounded_output.part(file, cut, sent) == (b"anew", 4)
    assert kept(file, LIMIT, cut) == b"anew"
    assert bounded_output.bound(file, LIMIT, cut) is None


def test_a_command_that_writes_far_behind_the_end_fills_no_disk(file):
    other = os.open(f"/proc/self/fd/{file}", os.O_RDWR)
    os.write(file, b"first")
    os.pwrite(other, b"last", 2**40)
    bounded_output.bound(file, LIMIT)
    assert bounded_output.excerpt(file, LIMIT).size < 10_000
    block, sent = bounded_output.part(file, None, 4096)
    assert (block[-4:], sent) == (b"last", 2**40 + 4)
    os.close(other)


def test_a_writer_that_opened_the_file_again_does_not_notice_a_hole(file, tmp_path, monkeypatch):
    monkeypatch.setattr(bounded_output, "SLACK", 0)
    with (tmp_path / "file").open("wb", buffering=0) as other:
        other.write(stream(0, 400_000))
        bounded_output.bound(file, LIMIT)
        other.write(stream(400_000, 500_000))
    assert kept(file) == expected(500_000)


def test_only_the_newest_is_searched_of_what_is_very_large(file):
    write(file, 0, 400_000)
    cut = bounded_output.excerpt(file, LIMIT)
    assert bounded_output.newest(file, cut, 1000) == stream(399_000, 400_000)
    assert bounded_output.newest(file, cut, 60_000) == stream(350_000, 400_000)
    assert bounded_output.newest(file, cut, 200_000) == expected(400_000)
    whole = bounded_output.excerpt(file, 400_000)
    assert bounded_output.newest(file, whole, 1000) == stream(399_000, 400_000)


@pytest.mark.slow
def test_a_cut_in_the_midst_of_reading_spoils_nothing(file, tmp_path, monkeypatch):
    monkeypatch.setattr(bounded_output, "SLACK", 0)
    command = ["seq", "-f", "%07.0f", "0", "4999999"]
    with subprocess.Popen(command, stdout=file) as child:
        cutting = threading.Thread(
            target=lambda: [bounded_output.bound(file, LIMIT) for _ in until(child)]
        )
        cutting.start()
        fd = os.open(tmp_path / "file", os.O_RDONLY)
        sent = 0
        for _ in until(child):
            block, end = bounded_output.part(fd, None, sent)
            assert true(block, sent, end)
            sent = end
        os.close(fd)
        cutting.join()


def until(child):
    """Go on until a child has ended."""
    while child.poll() is None:
        yield
