"""How the site is made of the Markdown of this checkout: `bin/docs`, or python -m sphinx -c docs . OUT.

The pages are written to be read as they are, so nothing in them is for the site alone. What it shows
on the left is taken from the index pages: the order of their links is the order of the pages.
"""

import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSION = re.search(r'^__version__ = "(.+)"', (ROOT / "taskrunner/__init__.py").read_text(), re.M)[
    1
]

project = "taskrunner"
release = version = VERSION
author = "the taskrunner authors"
language = "en"

# The source is the whole checkout, so that a page may link to a file beside the docs, as on GitHub.
root_doc = "docs/index"
include_patterns = [
    "docs/*.md",
    "docs/**/*.md",
    "C[HO]*.md",
    "SECURITY.md",
    "tests/benchmarks/README.md",
]
exclude_patterns = [".*", "build", "dist", "taskrunner"]

extensions = ["myst_parser"]
myst_heading_anchors = 6  # the anchors that GitHub gives
nitpicky = True
# An example may quote over several lines, which runs but is more than the highlighter understands.
suppress_warnings = ["misc.highlighting_failure"]
# SVGs, styles and scripts come with the theme; neither it nor we ask anybody for anything.
html_theme = "furo"
html_title = f"taskrunner {VERSION}"
html_extra_path = ["_site"]  # index.html leads to docs/
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_search_scorer = str(ROOT / "docs/search.js")
html_favicon = "_static/icon.svg"
html_copy_source = False
html_show_sourcelink = False
html_show_copyright = False
html_show_sphinx = False
html_use_index = False  # there is nothing of Sphinx's own domains to list
html_domain_indices = False
html_last_updated_fmt = None
html_theme_options = {"footer_icons": []}

# Examples of addresses are no links, and our own are tried without a network.
linkcheck_ignore = [
    r"https?://([\w.-]+\.)?example\.(org|com|net)",
    r"https?://(localhost|127\.0\.0\.1)",
]
linkcheck_timeout = 20

LINK = re.compile(r"\]\(([^)\s#]+\.md)(?:#[^)\s]*)?\)")


def home_of(page):
    """Return the index that a page belongs under: the nearest one above it."""
    folder = posixpath.dirname(page)
    if posixpath.basename(page) == "index":
        folder = posixpath.dirname(folder)
    while folder and not (ROOT / folder / "index.md").exists():
        folder = posixpath.dirname(folder)
    return posixpath.join(folder, "index") if folder else root_doc


def pages_under(index, text):
    """Return the pages that an index is the home of, in the order of its links."""
    here = posixpath.dirname(index)
    linked = [posixpath.normpath(posixpath.join(here, found))[:-3] for found in LINK.findall(text)]
    return [page for page in dict.fromkeys(linked) if page != root_doc and home_of(page) == index]


def add_contents(_, docname, source):
    """Give an index its table of contents, which Sphinx needs and a reader of Markdown does not."""
    if posixpath.basename(docname) == "index":
        pages = "\n".join(f"/{page}" for page in pages_under(docname, source[0]))
        source[0] += f"\n\n```{{toctree}}\n:hidden:\n\n{pages}\n```\n"


def setup(app):
    app.connect("source-read", add_contents)
    return {"parallel_read_safe": True}
