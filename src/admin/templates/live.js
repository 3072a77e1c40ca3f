// Keeps the page up to date: what is marked `data-live` is replaced by what the page would show now, unless somebody is just
// using it. Everything works without this, too.
"use strict";

const EVERY = 5000;
// After this many polls without an answer the page says that it shows the past.
const POLLS_UNTIL_LOST = 2;

let failed = 0;
let answered = new Date();

async function update() {
  const answer = await fetch("live", { credentials: "same-origin", redirect: "error", signal: AbortSignal.timeout(EVERY) });
  if (answer.status === 401) {
    document.getElementById("ended").hidden = false;
    return false;
  }
  if (!answer.ok) throw new Error(String(answer.status));
  const now = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const newer = now.getElementById(part.id);
    const inUse = part.contains(document.activeElement) || part.querySelector("details[open]");
    if (!newer || inUse || newer.innerHTML === part.innerHTML) continue;
    part.innerHTML = newer.innerHTML;
    part.className = newer.className;
  }
  return true;
}

function showConnection() {
  const lost = document.getElementById("lost");
  const isLost = failed >= POLLS_UNTIL_LOST;
  if (isLost) lost.querySelector("time").textContent = answered.toTimeString().slice(0, 8);
  lost.hidden = !isLost;
  document.body.classList.toggle("lost", isLost);
}

async function keepUpdating() {
  let goOn = true;
  try {
    if (!document.hidden) goOn = await update();
    failed = 0;
    answered = new Date();
  } catch {
    failed += 1;
  }
  showConnection();
  if (goOn) setTimeout(keepUpdating, EVERY);
}

async function copy(button) {
  await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
  button.textContent = "Copied";
}

document.addEventListener("click", (event) => {
  const { ask, copy: source, print: prints } = event.target.dataset || {};
  if (ask && !confirm(ask)) event.preventDefault();
  if (source) copy(event.target);
  if (prints !== undefined) print();
});

// The clipboard is there only where the page is safe from others: over TLS, and on this machine.
for (const part of document.querySelectorAll("[data-script]")) part.hidden = false;
for (const button of document.querySelectorAll("[data-copy]")) button.hidden = !navigator.clipboard;

const alone = document.querySelector("form[data-submit]");
if (alone) alone.submit();
else if (document.querySelector("[data-live]")) setTimeout(keepUpdating, EVERY);
