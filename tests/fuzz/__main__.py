"""Lets a coverage-guided fuzzer choose the bytes: `python -m tests.fuzz TARGET SECONDS [libFuzzer options]`.

It starts from corpus/TARGET and found/TARGET beside this file. An input that makes a target fail is written
to found/TARGET, where the suite finds it from then on.
"""

import faulthandler
import os
import re
import sys
import tempfile

import atheris

with atheris.instrument_imports(include=["taskrunner", "tomllib", "json"]):
    from tests.fuzz import targets

HERE = os.path.dirname(os.path.abspath(__file__))
STUCK = 20.0  # seconds after which an input is said to hang


def main() -> None:
    """Fuzz one target for some seconds."""
    name, seconds, *more = sys.argv[1:]
    what = targets.TARGETS[name]
    found = os.path.join(HERE, "found", name, "")
    os.makedirs(found, exist_ok=True)

    def one(data: bytes) -> None:
        faulthandler.dump_traceback_later(STUCK, exit=True)
        what(data)

    with tempfile.TemporaryDirectory(prefix="taskrunner-fuzz-") as grown:
        corpora = [os.path.join(HERE, "corpus", name), found]
        options = [f"-max_total_time={seconds}", f"-artifact_prefix={found}", "-max_len=4096"]
        options += [f"-dict={dictionary(grown)}", "-handle_alrm=0", "-print_final_stats=1", *more]
        atheris.Setup([sys.argv[0], *options, grown, *filter(os.path.isdir, corpora)], one)
        atheris.Fuzz()


def dictionary(folder: str) -> str:
    """Write down the words of our own grammars, which a fuzzer would take long to find, and return the file."""
    from taskrunner.tasks import options
    from taskrunner.tasks.taskfile import KEYS
    from tests.fuzz import typed

    words = {*options.OPTIONS, *KEYS, *typed.LENGTHS, *targets.ZONES}
    words |= {each for some in (*typed.VALUES.values(), *typed.FLAGS.values()) for each in some}
    place = os.path.join(folder, "words")
    with open(place, "w", encoding="utf-8") as file:
        for word in sorted(words):
            if word and re.fullmatch(r"[ -~]+", word):
                quoted = word.replace("\\", "\\\\").replace('"', '\\"')
                file.write(f'"{quoted}"\n')
    return place


if __name__ == "__main__":
    main()
