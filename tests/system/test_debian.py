"""The Debian package: it is built, installed, used and removed, in a box that sees the machine and leaves it as it is."""

import os
import shutil
import subprocess

import pytest

import taskrunner
from tests.samples import ROOT
from tests.system import cronbox

pytestmark = [
    *(pytest.mark.system, pytest.mark.slow, pytest.mark.one_python),
    pytest.mark.xdist_group("debian"),
    pytest.mark.timeout(1500),  # lintian takes its time on a busy machine
]

UNREACHABLE = 75
TOOLS = ("dh", "dpkg-buildpackage", "lintian", "unshare", "man")


@pytest.fixture(scope="module")
def found(needs, tmp_path_factory):
    """Build the package, live through its life in a box, and return a function that reads what the box has found."""
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    needs("debian", not missing, f"{' and '.join(missing)} is missing")
    needs("root", os.geteuid() == 0, "only root can install a package")
    needs("root", cronbox.can_unshare(), "this machine lets root make no mount namespace")
    folder = tmp_path_factory.mktemp("debian")
    made = run([ROOT / "bin" / "debian", folder])
    needs("debian", made.returncode != UNREACHABLE, "the package index cannot be reached")
    assert made.returncode == 0, made.stdout
    (package,) = folder.glob("*.deb")
    box = ["unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]
    lived = run([*box, "sh", ROOT / "tests" / "system" / "debian_box.sh", package, folder])
    assert lived.returncode == 0, lived.stdout
    return lambda name: (folder / name).read_text()


def run(words):
    env = {**os.environ, "PATH": f"/usr/sbin:/usr/bin:/sbin:/bin:{os.environ['PATH']}"}
    return subprocess.run(
        words, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=1200
    )


def test_the_package_can_be_installed_used_and_removed_without_a_trace(found):
    assert found("version") == f"taskrunner {taskrunner.__version__}\n"
    assert found("log") == "hello\n"
    assert "02:30:00" in found("other"), "an ordinary user cannot use it"
    assert "taskrunner - cron with a memory" in found("page")
    assert found("completion") == "complete -F _taskrunner taskrunner\n"
    assert int(found("bytecode")) > 200, "each tick would compile the program"
    assert found("after") == found("before")


def test_nothing_calls_it_before_somebody_says_so_and_nothing_fails_when_it_is_gone(found):
    assert found("enabled") == ""
    scripts = found("scripts")
    assert "deb-systemd-invoke" in scripts and "stop 'taskrunner.service'" not in scripts
    assert "ExecStart=/usr/bin/taskrunner tick" in found("unit")
    assert "root  [ -x /usr/bin/taskrunner ] && /usr/bin/taskrunner " in found("cron")
    assert "root  [ -x /usr/bin/taskrunner ] && /usr/bin/taskrunner tick" in found("example")
    assert found("mail") == "", "cron would mail this every minute"
