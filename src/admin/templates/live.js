// Keeps the page up to date: what is marked `data-live` is replaced by what the page would show now, unless somebody is just
// using it. Everything works without this, too.
"use strict";

const EVERY = 5000;

async function update() {
  const answer = await fetch("live", { credentials: "same-origin", redirect: "error" });
  if (answer.status === 401) {
    document.getElementById("ended").hidden = false;
    return false;
  }
  if (!answer.ok) return true;
  const now = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of document.querySelectorAll("[data-live]")) {
    const newer = now.getElementById(part.id);
    const inUse = part.contains(document.activeElement) || part.querySelector("details[open]");
    if (newer && !inUse && newer.innerHTML !== part.innerHTML) part.innerHTML = newer.innerHTML;
  }
  return true;
}

async function keepUpdating() {
  let goOn = true;
  try {
    if (!document.hidden) goOn = await update();
  } catch {
    // The service may be starting again.
  }
  if (goOn) setTimeout(keepUpdating, EVERY);
}

document.addEventListener("click", (event) => {
  const question = event.target.dataset ? event.target.dataset.ask : undefined;
  if (question && !confirm(question)) event.preventDefault();
});

const alone = document.querySelector("form[data-submit]");
if (alone) alone.submit();
else if (document.querySelector("[data-live]")) setTimeout(keepUpdating, EVERY);
