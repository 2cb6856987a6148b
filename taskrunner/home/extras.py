"""The command that adds an extra of ours, such as the page, to this installation.

It must not know the extras.
"""

import json
import os
import shlex
import sys
from pathlib import Path
from urllib.parse import unquote

from taskrunner.home.program import FOLDER, PACKAGE

# Files by which an environment that a tool has made is known, and how the tool installs into it once more.
TOOLS = (
    ("pipx_metadata.json", ("pipx", "install", "--force")),
    ("uv-receipt.toml", ("uv", "tool", "install")),
)


def adding(extra: str) -> str:
    """Return the command that adds an extra, from the checkout, repository or index that this program came from."""
    source = _source()
    what = f"{PACKAGE}[{extra}]" if source is None else f"{PACKAGE}[{extra}] @ {source}"
    for mark, how in TOOLS:
        if os.path.isfile(os.path.join(sys.prefix, mark)):
            return shlex.join((*how, what))
    pip = (sys.executable, "-m", "pip", "install")
    if os.path.isfile(os.path.join(FOLDER, "pyproject.toml")):
        return shlex.join((*pip, "-e", f"{FOLDER}[{extra}]"))
    return shlex.join((*pip, what))


def _source() -> str | None:
    """Return the address that the installer has noted, None for an index or a folder that is gone."""
    pattern = f"{PACKAGE.replace('-', '_')}-*.dist-info/direct_url.json"
    try:
        noted = json.loads(next(Path(FOLDER).glob(pattern)).read_text(encoding="utf-8"))
        kind, address = noted.get("vcs_info", {}).get("vcs"), noted["url"]
    except (StopIteration, OSError, ValueError, KeyError):
        return None
    if kind is not None:
        return f"{kind}+{address}"
    folder = unquote(address.removeprefix("file://"))
    return None if address.startswith("file://") and not os.path.exists(folder) else str(address)
