// Plots of what was charged, as SVG: a column for each day, a bar for each name. The same numbers stand in a table.
const SPACE = "http://www.w3.org/2000/svg";
const WIDTH = 720;
const HEIGHT = 240;
const LEFT = 110;
const BOTTOM = 26;
const TOP = 14;
const ROW = 30;
const NAMES = 180;
const LABELS = 8;
const DAY_MS = 86_400_000;
const MOST_DAYS = 92;

/** An element of SVG; children that are texts become text. */
export function shape(name, attributes, ...children) {
  const made = document.createElementNS(SPACE, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, `${value}`);
  made.append(...children);
  return made;
}

const frame = (height, label, children) =>
  shape("svg", { class: "plot", viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": label }, ...children);

/** The least of 4, 8, 20, 40, 80, 200, ... that is no less than an amount. */
export function roundUp(amount) {
  for (let scale = 1n; ; scale *= 10n) {
    for (const top of [4n, 8n, 20n]) if (amount <= top * scale) return top * scale;
  }
}

/** Every day from the first to the last one, the last of them at most 92; a day without calls is 0. */
export function eachDay(days) {
  const known = new Map(days);
  const times = [...known.keys()].map((day) => Date.parse(day)).filter(Number.isFinite);
  if (!times.length) return [];
  const last = times.reduce((a, b) => Math.max(a, b));
  const first = Math.max(times.reduce((a, b) => Math.min(a, b)), last - (MOST_DAYS - 1) * DAY_MS);
  const found = [];
  for (let at = first; at <= last; at += DAY_MS) {
    const day = new Date(at).toISOString().slice(0, 10);
    found.push([day, known.get(day) ?? 0n]);
  }
  return found;
}

/** A column for each [name, amount], from left to right. */
export function columns(rows, label, said) {
  const top = roundUp(rows.reduce((most, [, amount]) => (amount > most ? amount : most), 0n));
  const room = HEIGHT - BOTTOM - TOP;
  const y = (amount) => HEIGHT - BOTTOM - Number((amount * BigInt(room)) / top);
  const step = (WIDTH - LEFT) / Math.max(rows.length, 1);
  const wide = Math.max(2, Math.min(48, step * 0.75));
  const drawn = [0n, 1n, 2n, 3n, 4n].flatMap((part) => {
    const at = y((top * part) / 4n);
    const line = shape("line", { class: "grid", x1: LEFT, x2: WIDTH, y1: at, y2: at });
    return [line, shape("text", { class: "detail end", x: LEFT - 8, y: at + 4 }, said((top * part) / 4n))];
  });
  const every = Math.ceil(rows.length / LABELS);
  rows.forEach(([name, amount], place) => {
    const middle = LEFT + (place + 0.5) * step;
    const tall = HEIGHT - BOTTOM - y(amount);
    const title = shape("title", {}, `${name}: ${said(amount)}`);
    if (tall) drawn.push(shape("rect", { class: "block same", x: middle - wide / 2, y: y(amount), width: wide, height: tall }, title));
    if (place % every === 0) drawn.push(shape("text", { class: "detail middle", x: middle, y: HEIGHT - 8 }, name.slice(5)));
  });
  return frame(HEIGHT, label, drawn);
}

/** A bar for each [name, amount], from top to bottom. */
export function bars(rows, label, said) {
  const most = rows.reduce((known, [, amount]) => (amount > known ? amount : known), 1n);
  const drawn = rows.flatMap(([name, amount], place) => {
    const at = place * ROW + 4;
    const wide = Math.max(1, Number((amount * BigInt(WIDTH - NAMES - 130)) / most));
    const shown = name.length > 26 ? `${name.slice(0, 25)}…` : name || "–";
    return [
      shape("text", { class: "end", x: NAMES - 8, y: at + 16 }, shown),
      shape("rect", { class: "block same", x: NAMES, y: at, width: wide, height: ROW - 8 }, shape("title", {}, `${name}: ${said(amount)}`)),
      shape("text", { class: "detail", x: NAMES + wide + 8, y: at + 16 }, said(amount)),
    ];
  });
  return frame(rows.length * ROW + 4, label, drawn);
}
