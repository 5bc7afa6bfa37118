// A workflow's run, played back from its trace over the drawn steps: what ran in parallel, what was skipped, what each
// step cost. Who wants no motion sees the end of it at once. A capsule is called as a model, and has one receipt; a
// workflow that is not published goes along with the request, and each of its steps has a receipt.
import { Refused, amount, begin, element, one, table, tell, tiles } from "./account.js";
import { busy, growing, limitOf, mostOf, onSend, post, showPaid, showProblem } from "./calling.js";
import { shape } from "./plots.js";
import { WORDS, end, ms, said, sound } from "./trace.js";

const [WIDTH, LABELS, ROW, HEAD] = [960, 190, 30, 24];
const NOTES = 210;
const [SHORTEST_MS, LONGEST_MS] = [1_500, 6_000];
const STATES = ["runs", "ok", "error", "skipped"];

const { kind, path, model } = one("ask").dataset;
const isTrial = kind === "try";
let stopping = null;
let playing = 0;

const cost = (row) => (row.price === undefined ? "" : amount(row.price));

/** The timeline: a row for each step, whose bar `draw` fills as far as the run has come. */
function timeline(rows, whole) {
  const height = HEAD + rows.length * ROW;
  const label = "When each step ran; the table below says the same";
  const drawing = shape("svg", { class: "timeline flow-drawing", viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": label });
  const place = (at) => LABELS + (at / Math.max(whole, 1)) * (WIDTH - LABELS - NOTES);
  for (const part of [0, 0.5, 1]) {
    const x = place(part * whole);
    drawing.append(shape("line", { class: "tick", x1: x, x2: x, y1: HEAD - 4, y2: height }));
    drawing.append(shape("text", { class: "detail", x, y: 14, "text-anchor": part ? "middle" : "start" }, ms(Math.round(part * whole))));
  }
  const bars = rows.map((row, at) => {
    const y = HEAD + at * ROW;
    const [from, to] = [place(row.began_ms), place(end(row))];
    drawing.append(shape("text", { x: 8, y: y + 19 }, row.step.length > 24 ? `${row.step.slice(0, 23)}…` : row.step));
    const note = shape("text", { class: "detail", x: WIDTH - NOTES + 12, y: y + 19 });
    const wide = row.status === "skipped" ? 0 : Math.max(2, to - from);
    const bar = shape("rect", { class: row.status, x: from, y: y + 6, height: ROW - 12, width: 0, rx: 3 });
    drawing.append(shape("rect", { class: "room", x: from, y: y + 6, height: ROW - 12, width: wide, rx: 3 }), bar, note);
    return { row, bar, wide, note };
  });
  one("timeline").replaceChildren(drawing);
  return bars;
}

/** Draw the run as it was `at` ms after it began: boxes of the graph, bars, and what has ended. */
function draw(bars, at) {
  for (const { row, bar, wide, note } of bars) {
    const isOver = at >= end(row);
    const part = isOver ? 1 : Math.max(0, (at - row.began_ms) / Math.max(row.ms, 1));
    bar.setAttribute("width", wide * part);
    note.textContent = isOver ? [WORDS[row.status], row.status === "skipped" ? "" : ms(row.ms), cost(row)].filter(Boolean).join(" · ") : "";
    const box = document.querySelector(`[data-key="${CSS.escape(row.step)}"] .graph-box`);
    const state = isOver ? row.status : at >= row.began_ms && row.status !== "skipped" ? "runs" : "";
    box?.classList.remove(...STATES.filter((one) => one !== state));
    if (state) box?.classList.add(state);
  }
}

/** Play a run back, in between 1.5 and 6 seconds; or show its end. */
function play(rows, whole) {
  const bars = timeline(rows, whole);
  const turn = (playing += 1);
  const isStill = matchMedia("(prefers-reduced-motion: reduce)").matches;
  one("again").hidden = isStill;
  if (isStill) return draw(bars, Infinity);
  const lasts = Math.min(LONGEST_MS, Math.max(SHORTEST_MS, whole));
  const began = performance.now();
  const frame = (now) => {
    if (turn !== playing) return;
    const part = Math.max(0, now - began) / lasts;
    draw(bars, part >= 1 ? Infinity : part * whole);
    if (part < 1) requestAnimationFrame(frame);
  };
  requestAnimationFrame(frame);
}

const COLUMNS = [
  ["Step", (row) => row.step],
  ["Ended", (row) => element("span", { className: `state ${{ ok: "good", error: "bad", skipped: "quiet" }[row.status]}` }, WORDS[row.status])],
  ["Served by", (row) => (row.model ? element("span", { className: "mono" }, row.model) : "")],
  ["Began after", (row) => (row.status === "skipped" ? "" : ms(row.began_ms)), "number"],
  ["Took", (row) => (row.status === "skipped" ? "" : ms(row.ms)), "number"],
  ["Cost", cost, "number"],
  ["Why it failed", (row) => row.reason ?? ""],
];

function showTrace(trace) {
  const rows = sound(trace);
  const whole = rows.reduce((most, row) => Math.max(most, end(row)), 0);
  one("together").textContent = rows.length ? said(rows, whole) : "There is no trace of it.";
  table(one("trace"), COLUMNS, rows, "No step ran.");
  one("again").onclick = () => play(rows, whole);
  play(rows, whole);
}

/** The request: the workflow's file is sent as the page shows it. */
function asked(limit) {
  const input = { messages: [{ role: "user", content: one("text").value }], max_tokens: limit };
  return isTrial ? { capsule: JSON.parse(one("file").textContent), input } : { model, ...input };
}

/** The calls that were charged, and what each called: the steps', or the workflow's. */
const charged = (trace, id) =>
  isTrial ? sound(trace).filter((row) => row.call).map((row) => [row.call, `${row.step}, ${row.model}`]) : [[id, model]];

async function run() {
  if (stopping) return;
  const [limit, most] = [limitOf(one("most-tokens")), mostOf(one("most"))];
  showProblem(null);
  stopping = new AbortController();
  one("result").hidden = true;
  one("cost").hidden = true;
  busy(true);
  tell("It runs…");
  const began = performance.now();
  try {
    const answer = await post(path, asked(limit), { signal: stopping.signal, most });
    const found = await answer.json();
    const trace = isTrial ? found.steps : found.tollway?.steps;
    one("result").hidden = false;
    growing(one("answer"))(String((isTrial ? found.text : found.choices?.[0]?.message?.content) ?? ""));
    measured(found.usage, performance.now() - began);
    showTrace(trace);
    await showPaid(charged(trace, answer.headers.get("tollway-receipt")), "Done.");
  } catch (error) {
    if (error.name === "AbortError") return tell("Stopped. Steps that had served are charged: your activity shows them.");
    if (!(error instanceof Refused) && !(error instanceof TypeError)) throw error;
    tell("");
    showProblem(error);
    if (!error.facts?.steps) return;
    one("result").hidden = false;
    growing(one("answer"))("");
    measured(null, performance.now() - began);
    showTrace(error.facts.steps);
    if ((error.facts.charge ?? "0") !== "0") await showPaid(charged(error.facts.steps, error.facts.call), "It failed.");
  } finally {
    stopping = null;
    busy(false);
  }
}

function measured(usage, took) {
  const tokens = usage ? [["Tokens", `${usage.completion_tokens}`, `and ${usage.prompt_tokens} of the questions`]] : [];
  tiles(one("measured"), [...tokens, ["Took", ms(Math.round(took)), "as seen from here"]]);
}

begin(async () => {});
onSend(run, () => stopping?.abort(), () => {
  stopping = null;
});
