// The worklist by keyboard, and fresh: it asks a short question every few seconds and loads the lines only when the answer changes.
"use strict";

const POLL_MILLISECONDS = 5000;
const table = document.getElementById("worklist");
const body = document.getElementById("rows");
const news = document.getElementById("news");
let state = table.dataset.state;

function rows() {
  return [...body.querySelectorAll("tr[data-study]")];
}

function choose(row) {
  for (const other of rows()) other.classList.toggle("chosen", other === row);
  row.scrollIntoView({ block: "nearest" });
  row.querySelector("a").focus({ preventScroll: true });
}

function move(step) {
  const all = rows();
  if (!all.length) return;
  const now = all.findIndex((row) => row.classList.contains("chosen"));
  choose(all[Math.min(Math.max(now + step, 0), all.length - 1)]);
}

function open(row) {
  window.location.assign(row.querySelector("a").href);
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, button")) return;
  const chosen = body.querySelector("tr.chosen");
  if (event.key === "j" || event.key === "ArrowDown") move(1);
  else if (event.key === "k" || event.key === "ArrowUp") move(-1);
  else if (event.key === "Enter" && chosen) open(chosen);
  else if (event.key === "/") document.getElementById("find").focus();
  else return;
  event.preventDefault();
});

body.addEventListener("click", (event) => {
  const row = event.target.closest("tr[data-study]");
  if (row && !event.target.closest("a")) open(row);
});

for (const select of document.querySelectorAll(".filters select")) {
  select.addEventListener("change", () => select.form.requestSubmit());
}

function tellCount(open) {
  const place = document.getElementById("open-count");
  place.replaceChildren();
  if (open) {
    const strong = document.createElement("strong");
    strong.textContent = open;
    place.append(strong, " flagged, not acknowledged");
  } else place.append("Nothing flagged waits for you");
  document.title = document.title.replace(/^\(\d+\) /, "").replace(/^/, open ? `(${open}) ` : "");
}

async function load() {
  const address = new URL(window.location.href);
  address.searchParams.set("part", "rows");
  const answer = await fetch(address, { headers: { Accept: "application/json" } });
  if (!answer.ok) return;
  const chosen = body.querySelector("tr.chosen")?.dataset.study;
  body.innerHTML = await answer.text(); // our own page's lines, escaped by the server
  const again = chosen && body.querySelector(`tr[data-study="${chosen}"]`);
  if (again) again.classList.add("chosen");
  news.hidden = true;
}

document.getElementById("show-news").addEventListener("click", load);

async function poll() {
  if (document.hidden) return;
  let answer;
  try {
    answer = await fetch("/worklist.json", { headers: { Accept: "application/json" } });
  } catch {
    return; // the server is away for a moment: the next question tells
  }
  if (answer.status === 401) return window.location.reload();
  if (!answer.ok) return;
  const told = await answer.json();
  tellCount(told.open);
  if (told.state === state) return;
  state = told.state;
  if (table.dataset.first === "1") await load();
  else news.hidden = false;
}

setInterval(poll, POLL_MILLISECONDS);
document.addEventListener("visibilitychange", poll);
