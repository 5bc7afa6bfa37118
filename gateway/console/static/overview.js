// The overview as it changes: the gateway sends the part of the page that is new. Without it the page stays as it is.
const live = document.getElementById("live");
const state = document.getElementById("live-state");
let source = null;
let waiting = null;

const say = (text) => {
  state.textContent = text;
};

/** Whether the reader is in the middle of it: the focus or a selection is there. Then the new part waits. */
function isUsed() {
  const selection = getSelection();
  return live.contains(document.activeElement) || (!selection.isCollapsed && live.contains(selection.anchorNode));
}

/** Put the new part in place of the old one, as far unfolded and scrolled as that was. */
function update({ part, version }) {
  waiting = null;
  const made = new DOMParser().parseFromString(part, "text/html").body;
  const each = (selector, act) => {
    const found = [...made.querySelectorAll(selector)];
    [...live.querySelectorAll(selector)].forEach((old, at) => found[at] && act(old, found[at]));
  };
  each("details", (old, made) => { made.open = old.open; });
  const scrolled = [...live.querySelectorAll(".wide")].map((old) => old.scrollLeft);
  live.replaceChildren(...made.childNodes);
  live.querySelectorAll(".wide").forEach((place, at) => { place.scrollLeft = scrolled[at] ?? 0; });
  live.dataset.version = version;
}

function connect() {
  source = new EventSource(`/overview/events?of=${live.dataset.period}&seen=${live.dataset.version}`);
  source.addEventListener("open", () => say("This page changes by itself as batches are made and settled."));
  source.addEventListener("overview", ({ data, lastEventId }) => {
    waiting = { part: JSON.parse(data), version: lastEventId };
    if (!isUsed()) update(waiting);
  });
  source.addEventListener("enough", () => {
    disconnect();
    say("Too many pages of yours are open for this one to change by itself: reload it to see what is new.");
  });
  source.addEventListener("error", () => say("The gateway does not answer now. This page shows what was last known."));
}

function disconnect() {
  source?.close();
  source = null;
}

live.addEventListener("focusout", () => setTimeout(() => {
  if (waiting && !isUsed()) update(waiting);
}));
// What nobody looks at needs no connection.
document.addEventListener("visibilitychange", () => {
  disconnect();
  if (!document.hidden) connect();
});
addEventListener("pagehide", disconnect);
connect();
