// Takes over the page as the server writes it, every two seconds, and adds rates. Without it the page is a snapshot.
"use strict";

const PERIOD = 2000;
let before = new Map();
let asked = 0;

function rates(root, now) {
  const seen = new Map();
  for (const cell of root.querySelectorAll("[data-rate]")) {
    const bytes = Number(cell.dataset.bytes);
    const last = before.get(cell.dataset.rate);
    if (last && now > last.now) {
      const rate = Math.max(0, (bytes - last.bytes) / ((now - last.now) / 1000));
      cell.textContent = `${shown(rate)}/s`;
    }
    seen.set(cell.dataset.rate, { bytes, now });
  }
  before = seen;
}

function shown(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) {
    bytes /= 1024;
    unit += 1;
  }
  return `${bytes.toFixed(unit === 0 ? 0 : 2)} ${units[unit]}`;
}

// A section that did not change keeps its place, what is selected in it, and the focus.
function takeOver(fresh) {
  for (const section of fresh.querySelectorAll("main > section")) {
    const old = document.getElementById(section.id);
    if (old && old.innerHTML !== section.innerHTML) {
      const focused = old.contains(document.activeElement) ? document.activeElement.closest("[tabindex]") : null;
      const label = focused && focused.getAttribute("aria-labelledby");
      const scrolled = [...old.querySelectorAll(".wide")].map((region) => region.scrollLeft);
      old.replaceChildren(...section.childNodes);
      old.querySelectorAll(".wide").forEach((region, n) => { region.scrollLeft = scrolled[n] || 0; });
      const again = label && old.querySelector(`[aria-labelledby="${label}"]`);
      if (again) again.focus({ preventScroll: true });
    }
  }
}

async function refresh() {
  const note = document.getElementById("fresh");
  const mine = ++asked;
  try {
    const answer = await fetch("/", { cache: "no-store", signal: AbortSignal.timeout(5 * PERIOD) });
    if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (mine !== asked) return;
    rates(fresh, performance.now());
    takeOver(fresh);
    document.body.classList.remove("stale");
    note.textContent = `As of ${new Date().toLocaleTimeString()}; it updates itself.`;
  } catch (error) {
    document.body.classList.add("stale");
    note.textContent = `No answer since the last update (${error.message}): what stands above is old.`;
  }
}

rates(document, performance.now());
setInterval(() => { if (!document.hidden) refresh(); }, PERIOD);
