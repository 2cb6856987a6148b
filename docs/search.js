// The order of search results: a heading with the words as typed, then guides (those for moving from another tool after
// the others), reference pages, explanations, and records of decisions last. Sphinx loads it.
var Scorer = {
  score: ([page, title, , , score]) => {
    const typed = (new URLSearchParams(window.location.search).get("q") || "").trim().toLowerCase();
    const found = score + (typed && title.toLowerCase().includes(typed) ? 10 : 0);
    if (page.startsWith("docs/explanation/decisions/")) return found - 100;
    if (page.endsWith("/index")) return found; // lists of pages
    if (page.startsWith("docs/how-to/move-")) return found + 7;
    if (page.startsWith("docs/how-to/") || page === "docs/tutorial") return found + 10;
    if (page.startsWith("docs/reference/")) return found + 4;
    if (page.startsWith("docs/explanation/")) return found;
    return found - 20; // changes, contributing, performance
  },
  // What Sphinx itself gives to a match; no page of ours describes objects of a domain.
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
  objNameMatch: 0,
  objPartialMatch: 0,
  objPrio: {},
  objPrioDefault: 0,
};
