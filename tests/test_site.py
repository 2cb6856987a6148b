"""The site that bin/docs makes: whole, reachable from its front page, and alone with its reader.

Built once for the module, as bin/docs does it. Needs the extra `docs`; skipped without it.
"""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import quote_plus, unquote, urlsplit

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
BESIDE = ["CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "tests/benchmarks/README.md"]
PAGES = [str(page.relative_to(ROOT)) for page in sorted(DOCS.rglob("*.md"))] + BESIDE

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("site")]  # built once, by one process

# What a browser fetches by itself, or is told to prepare for.
FETCHED = {
    "script": "src",
    "img": "src",
    "source": "src",
    "iframe": "src",
    "embed": "src",
    "object": "data",
    "video": "src",
    "audio": "src",
    "link": "href",
}


class Page(HTMLParser):
    """A page of the site: what it links to, what it loads, and the anchors it has."""

    def __init__(self, place: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.sidebar: list[str] = []
        self.words: list[str] = []
        self.feed(place.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids.add(given.get("id", ""))
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
            if "reference internal" in given.get("class", ""):
                self.sidebar.append(given["href"])
        if tag in FETCHED and given.get(FETCHED[tag]) and given.get("rel") not in ("next", "prev"):
            self.loads.append(given[FETCHED[tag]])

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def build(source: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """Make the site as bin/docs does."""
    argv = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-j", "2", "-c", "docs"]
    argv += ["-d", str(out.parent / f"{out.name}-doctrees"), ".", str(out)]
    return subprocess.run(argv, cwd=source, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, needs: Callable[[str, object, str], None]
) -> Path:
    wanted = ("sphinx", "myst_parser", "furo")
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    reason = f"not installed here: {', '.join(missing)} (pip install -e '.[docs]')"
    needs("docs", not missing, reason)
    out = tmp_path_factory.mktemp("docs") / "site"
    done = build(ROOT, out)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    return out


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Page]:
    return {place: Page(place) for place in sorted(site.rglob("*.html"))}


def test_every_page_of_the_checkout_is_in_the_site_and_none_is_an_orphan(
    site: Path, pages: dict[Path, Page]
) -> None:
    made = {site / page.removesuffix(".md") for page in PAGES}
    assert made <= {place.with_suffix("") for place in pages}
    seen, todo = set[Path](), [site / "index.html"]
    while todo:
        place = todo.pop()
        if place in seen or place not in pages:
            continue
        seen.add(place)
        todo += [
            (place.parent / unquote(urlsplit(each).path)).resolve() for each in pages[place].links
        ]
    assert set(pages) - seen <= {site / "search.html"}  # a form leads there


def test_the_list_on_the_left_leads_to_every_page_in_the_order_of_the_indexes(
    site: Path, pages: dict[Path, Page]
) -> None:
    front = site / "docs/index.html"
    shown = [(front.parent / each).resolve() for each in pages[front].sidebar if "#" not in each]
    shown = list(dict.fromkeys(place for place in shown if place != front))
    listed = {site / Path(page).with_suffix(".html") for page in PAGES} - {front}
    assert listed <= set(shown)
    order = [place.relative_to(site).as_posix() for place in shown]
    assert order.index("docs/tutorial.html") < order.index("docs/how-to/index.html")
    assert order.index("docs/how-to/install.html") < order.index("docs/how-to/cron.html")


def test_every_link_within_the_site_leads_to_a_file_and_an_anchor_that_are_there(
    site: Path, pages: dict[Path, Page]
) -> None:
    for place, page in pages.items():
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or link == "#":
                continue
            target = (place.parent / unquote(parts.path)).resolve() if parts.path else place
            assert target.is_file(), f"{place.relative_to(site)}: {link} leads nowhere"
            if parts.fragment and target in pages:
                assert unquote(parts.fragment) in pages[target].ids, (
                    f"{place.relative_to(site)}: {link} has no such anchor"
                )


def test_nothing_is_loaded_from_anywhere_else(site: Path, pages: dict[Path, Page]) -> None:
    for place, page in pages.items():
        for resource in page.loads:
            if resource == "#":
                continue
            parts = urlsplit(resource)
            assert not parts.netloc, f"{place.relative_to(site)} loads {resource}"
            if parts.scheme != "data":
                assert (place.parent / unquote(parts.path)).resolve().is_file(), resource
    for style in site.rglob("*.css"):
        assert not foreign(style.read_text(encoding="utf-8")), style
    for script in site.rglob("*.js"):
        text = script.read_text(encoding="utf-8")
        assert not re.search(r"(?:fetch|import|importScripts)\(\s*[\"'](?:https?:)?//", text), (
            script
        )


def foreign(style: str) -> list[str]:
    """What a style sheet loads from elsewhere."""
    return re.findall(r"(?:url\(\s*[\"']?|@import\s*[\"'])((?:https?:)?//[^\"')]+)", style)


def test_a_style_sheet_that_loads_a_font_from_elsewhere_would_be_seen() -> None:
    assert foreign("@import '//fonts.example.org/a.css'") == ["//fonts.example.org/a.css"]
    assert foreign("a{src:url(https://example.org/b.woff2)}") == ["https://example.org/b.woff2"]
    assert not foreign("a{background:url(data:image/svg+xml;base64,AA)} b{src:url('x.woff')}")


def test_the_search_knows_the_pages_and_their_words(site: Path) -> None:
    text = (site / "searchindex.js").read_text(encoding="utf-8")
    index = json.loads(re.fullmatch(r"Search\.setIndex\((.*)\)\s*", text, re.S)[1])
    assert {page.removesuffix(".md") for page in PAGES} == set(index["docnames"])
    for kind, word, page in (
        ("titleterms", "suspend", "docs/how-to/laptops"),
        ("terms", "rsync", "docs/how-to/move-jobber-yacron"),
    ):
        found = index[kind][word]
        number = index["docnames"].index(page)
        assert number in (found if isinstance(found, list) else [found])


def results(site: Path, folder: Path, words: str) -> list[str]:
    """The pages that the site's own search lists for words, in its order."""
    browser = shutil.which("chromium") or ""
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=30000"]
    address = f"file://{site}/search.html?q={quote_plus(words)}"
    argv = [browser, *options, f"--user-data-dir={folder}", "--dump-dom", address]
    shown = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=100).stdout
    listed = shown.partition('id="search-results"')[2]
    return re.findall(r'<li[^>]*><a href="(?:\./)?(\S+?)\.html', listed)


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("retry a failed task", "docs/how-to/failures"),
        ("mail", "docs/how-to/notifications"),
        ("overlapping runs", "docs/how-to/tasks"),
        ("crontab", "docs/how-to/from-cron"),
        ("task did not run", "docs/how-to/did-not-run"),
        ("delete a task", "docs/how-to/tasks"),
        ("every 5 minutes", "docs/how-to/tasks"),
        ("last day of the month", "docs/how-to/tasks"),
        ("timezone", "docs/how-to/tasks"),
        ("daylight saving", "docs/how-to/tasks"),
        ("slack", "docs/how-to/notifications"),
        ("email", "docs/how-to/notifications"),
        ("flask", "docs/how-to/application"),
        ("sql", "docs/reference/schema"),
        ("django", "docs/how-to/django"),
    ],
)
def test_the_search_finds_first_the_guide_for_what_people_type(
    site: Path, tmp_path: Path, needs: Callable[[str, object, str], None], words: str, page: str
) -> None:
    needs("chromium", shutil.which("chromium"), "chromium is not here")
    assert results(site, tmp_path, words)[0] == page


def test_the_search_shows_records_of_decisions_last(
    site: Path, tmp_path: Path, needs: Callable[[str, object, str], None]
) -> None:
    needs("chromium", shutil.which("chromium"), "chromium is not here")
    decided = ["/decisions/0" in page for page in results(site, tmp_path, "cron")]
    assert any(decided)
    assert decided == sorted(decided)


def test_the_front_page_has_the_first_screen_of_the_readme() -> None:
    front, readme = (path.read_text() for path in (DOCS / "index.md", ROOT / "README.md"))
    opening = readme.partition("\n## ")[0].replace("docs/", "")
    assert all(each in front for each in opening.split("\n\n")), opening
    ways = re.findall(r"^- \*\*\[([\w -]+)\]", front, re.M)
    assert ways == ["Tutorial", "How-to guides", "Reference", "Explanation"]


def small_checkout(folder: Path, front: str) -> Path:
    """A checkout with no page but the front page and one beside it."""
    (folder / "taskrunner").mkdir(parents=True)
    shutil.copy(ROOT / "taskrunner/__init__.py", folder / "taskrunner/__init__.py")
    (folder / "docs").mkdir()
    for name in ("conf.py", "search.js"):
        shutil.copy(DOCS / name, folder / "docs" / name)
    shutil.copytree(DOCS / "_site", folder / "docs/_site")
    shutil.copytree(DOCS / "_static", folder / "docs/_static")
    (folder / "docs/index.md").write_text(front)
    (folder / "docs/other.md").write_text("# Other\n\nMore.\n")
    return folder


@pytest.mark.parametrize(
    ("front", "complaint"),
    [
        ("# Front\n\nSee [the other](other.md).\n", None),
        ("# Front\n\nNo link.\n", "other.md: WARNING: document isn't included in any toctree"),
        ("# Front\n\n[Other](other.md), [gone](gone.md).\n", "gone.md"),
        ("# Front\n\n[Other](other.md#nothing).\n", "nothing"),
    ],
    ids=["whole", "orphan", "no page", "no anchor"],
)
def test_a_link_or_a_page_that_is_lost_fails_the_build(
    site: Path, tmp_path: Path, front: str, complaint: str | None
) -> None:
    done = build(small_checkout(tmp_path / "checkout", front), tmp_path / "out")
    assert (done.returncode == 0) == (complaint is None), done.stderr
    assert complaint is None or complaint in done.stderr


def opens_with_prose(text: str) -> bool:
    """Whether a sentence stands right below the title of a page, comments aside."""
    body = re.sub(r"<!--.*?-->", "", text, flags=re.S).split("\n", 1)[1].lstrip()
    return not body.startswith(("#", "|", "```", "- ", "1. "))


@pytest.mark.parametrize("page", [page for page in PAGES if page not in BESIDE])
def test_every_page_opens_with_a_sentence_that_says_what_its_reader_gets(page: str) -> None:
    assert not opens_with_prose("# Title\n\n<!-- written -->\n\n| a table |\n")
    assert opens_with_prose((ROOT / page).read_text(encoding="utf-8"))
