// Keeps the page fresh, streams output, and gives it keys. Everything works without it, only by hand.
"use strict";
(() => {
  const EACH = 1000; // ms between two looks at whether anything has changed
  const LATEST = 15000; // ms after which the page is asked for anyway: a tick without work changes nothing else
  const AT_END = 30; // px from the end within which an output is followed
  const LONGEST = 400000; // characters of an output that stay on the page
  const UNSEEN = /[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\u{e0000}-\u{e007f}]/gu;
  const main = document.getElementById("main");
  const live = document.getElementById("live");
  const remembered = "taskrunner-paused";

  // ---- ages

  let ahead = 0; // ms, the server's clock before ours

  function setClock() {
    if (main.dataset.now) ahead = Date.parse(main.dataset.now) - Date.now();
  }

  function age() {
    const now = Date.now() + ahead;
    for (const time of main.querySelectorAll("[data-far], [data-lasts]")) {
      const gap = Math.round((Date.parse(time.dateTime) - now) / 1000);
      const text = "lasts" in time.dataset ? human(Math.max(0, -gap)) : !gap ? "now" : gap > 0 ? `in ${human(gap)}` : `${human(-gap)} ago`;
      if (time.textContent !== text) time.textContent = text;
    }
  }

  function human(seconds) {
    const two = (number) => String(number).padStart(2, "0");
    const [m, h, d] = [60, 3600, 86400].map((unit) => Math.floor(seconds / unit));
    if (!m) return `${seconds}s`;
    if (!h) return `${m}m ${two(seconds % 60)}s`;
    return d ? `${d}d ${h % 24}h` : `${h}h ${two(m % 60)}m`;
  }

  // ---- refresh

  let paused = false;
  try { paused = sessionStorage.getItem(remembered) === "1"; } catch { /* storage is off */ }
  let tag = null, drawn = Date.now(), busy = false;

  function tell(word, lost) {
    if (!live) return;
    live.querySelector(".word").textContent = word;
    live.classList.toggle("lost", Boolean(lost));
    live.setAttribute("aria-pressed", String(!paused));
  }

  function pause(wanted) {
    paused = wanted;
    try { sessionStorage.setItem(remembered, paused ? "1" : "0"); } catch { /* storage is off */ }
    tell(paused ? "Paused" : "Live");
    if (!paused) look();
  }

  async function look() {
    if (document.hidden) return;
    if (!paused && main.hasAttribute("data-live")) age();
    if (busy) return;
    busy = true;
    try {
      await stream();
      if (!paused && main.hasAttribute("data-live")) {
        const changed = await hasChanged();
        if (changed || Date.now() - drawn >= LATEST) await redraw();
        tell(paused ? "Paused" : "Live"); // it may have been paused meanwhile
      }
    } catch {
      tell(paused ? "Paused" : "No answer", !paused);
    } finally {
      busy = false;
    }
  }

  async function hasChanged() {
    const headers = tag ? { "If-None-Match": tag } : {};
    const answer = await fetch(document.body.dataset.changes, { headers, cache: "no-store" });
    if (answer.status === 304) return false;
    if (!answer.ok) throw new Error(String(answer.status));
    const before = tag;
    tag = answer.headers.get("ETag");
    return before !== null && before !== tag;
  }

  async function redraw() {
    if (paused) return;
    const answer = await fetch(location.href, { cache: "no-store", headers: { Accept: "text/html" } });
    if (answer.redirected) return location.reload(); // to the login
    if (!answer.ok) throw new Error(String(answer.status));
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const next = fresh.getElementById("main");
    if (!next || document.hidden || paused) return;
    drawn = Date.now();
    document.title = fresh.title;
    become(main, next);
    setClock();
    if (!main.hasAttribute("data-live") && live) live.hidden = true;
  }

  // Make an element like a fresh one, in place: what is equal is not touched, so focus, selection and scroll stay.
  function become(old, next) {
    if (old.isEqualNode(next)) return;
    likeAttributes(old, next);
    if (!next.hasAttribute("data-keep")) likeChildren(old, next);
  }

  function likeAttributes(old, next) {
    const own = old.hasAttribute("data-keep") ? ["data-from"] : old.tagName === "DETAILS" ? ["open"] : ["tabindex"];
    for (const { name } of [...old.attributes]) {
      if (!next.hasAttribute(name) && !own.includes(name)) old.removeAttribute(name);
    }
    for (const { name, value } of next.attributes) {
      if (old.getAttribute(name) !== value && !own.includes(name)) old.setAttribute(name, value);
    }
  }

  function keyOf(node) {
    return node.nodeType === Node.ELEMENT_NODE ? node.id || node.dataset.key : undefined;
  }

  function likeChildren(old, next) {
    const wantedKeys = new Set([...next.children].map(keyOf));
    for (const child of [...old.children]) {
      if (keyOf(child) && !wantedKeys.has(keyOf(child))) child.remove();
    }
    const keyed = new Map([...old.children].map((child) => [keyOf(child), child]));
    let place = pastNotes(old.firstChild);
    for (const wanted of [...next.childNodes]) {
      const key = keyOf(wanted);
      const found = key ? keyed.get(key) : place && !keyOf(place) ? place : null;
      if (!found || found.nodeName !== wanted.nodeName) {
        old.insertBefore(document.importNode(wanted, true), place);
        continue;
      }
      if (found === place) place = pastNotes(place.nextSibling);
      else old.insertBefore(found, place);
      if (found.nodeType === Node.ELEMENT_NODE) become(found, wanted);
      else if (found.data !== wanted.data) found.data = wanted.data;
    }
    while (place) {
      const rest = pastNotes(place.nextSibling);
      place.remove();
      place = rest;
    }
  }

  // Of what was said once, as after a click, a fresh page knows nothing: it stays.
  function pastNotes(place) {
    while (place?.nodeType === Node.ELEMENT_NODE && place.matches("p.note[data-keep]")) place = place.nextSibling;
    return place;
  }

  // ---- output

  let decoder = null, done = false;

  async function stream() {
    const place = document.getElementById("output");
    if (!place || done || paused) return;
    const last = !place.hasAttribute("data-streams"); // the rest of a run that has ended
    if (!decoder && last) { done = true; return; }
    decoder ??= new TextDecoder("utf-8");
    const answer = await fetch(`${place.dataset.url}?from=${place.dataset.from}`, { cache: "no-store" });
    if (!answer.ok) throw new Error(String(answer.status));
    const bytes = new Uint8Array(await answer.arrayBuffer());
    if (answer.headers.get("X-From") !== place.dataset.from) {
      place.textContent = ""; // the command has emptied its output
      decoder = new TextDecoder("utf-8");
    }
    if (bytes.length) append(place, decoder.decode(bytes, { stream: true }));
    place.dataset.from = answer.headers.get("X-Next");
    if (last && !bytes.length) done = true;
  }

  function append(place, text) {
    const follows = place.scrollHeight - place.scrollTop - place.clientHeight < AT_END;
    place.append(text.replace(/\r\n/g, "\n").replace(UNSEEN, visible));
    if (place.textContent.length > LONGEST) place.textContent = place.textContent.slice(-LONGEST / 2);
    if (follows) place.scrollTop = place.scrollHeight;
  }

  function visible(sign) {
    const number = sign.codePointAt(0);
    return number < 256 ? `\\x${number.toString(16).padStart(2, "0")}` : `\\u${number.toString(16).padStart(4, "0")}`;
  }

  // ---- keys

  let before = "";

  function typed(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (event.target.closest("input, select, textarea, dialog[open]")) {
      if (event.key === "Escape" && event.target.closest(".search")) event.target.blur();
      return;
    }
    const key = event.key, went = before === "g" && document.querySelector(`[data-go="${CSS.escape(key)}"]`);
    before = key;
    if (went) return act(event, () => went.click());
    if (key === "/") act(event, () => document.getElementById("search").focus());
    else if (key === "?") act(event, showKeys);
    else if (key === "p" && live && !live.hidden) act(event, () => pause(!paused));
    else if (key === "j" || key === "k") act(event, () => step(key === "j" ? 1 : -1));
    else if (key === "Escape") for (const menu of document.querySelectorAll(".menu[open]")) menu.open = false;
  }

  function act(event, what) {
    event.preventDefault();
    before = "";
    what();
  }

  function step(by) {
    const rows = [...main.querySelectorAll("[data-row]")].filter((row) => row.offsetParent);
    if (!rows.length) return;
    const here = document.activeElement.closest("tr, li");
    const at = rows.findIndex((row) => row === document.activeElement || (here && here.contains(row)));
    const next = rows[at < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, at + by))];
    next.focus();
    next.scrollIntoView({ block: "nearest" });
  }

  function showKeys() {
    document.getElementById("keys").showModal();
  }

  // ---- begin

  document.addEventListener("keydown", typed);
  const keys = document.getElementById("show-keys");
  keys.hidden = false;
  keys.addEventListener("click", showKeys);
  if (live && main.hasAttribute("data-live")) {
    live.hidden = false;
    live.addEventListener("click", () => pause(!paused));
    tell(paused ? "Paused" : "Live");
  }
  for (const pick of document.querySelectorAll(".picks > div")) {
    pick.addEventListener("input", (event) => {
      const radio = pick.querySelector("input[type=radio]");
      if (event.target !== radio) radio.checked = true;
    });
  }
  document.getElementById("checked")?.focus();
  const output = document.getElementById("output");
  if (output?.hasAttribute("data-streams")) output.scrollTop = output.scrollHeight;
  document.addEventListener("visibilitychange", look);
  setClock();
  setInterval(look, EACH);
  look();
})();
