// One's calls: a table, sums by day, model and key, and the same as CSV.
import { amount, ask, begin, csv, download, element, key, moment, on, one, short, table } from "./account.js";
import { bars, columns, eachDay } from "./plots.js";

const PAGE = 500;
const MOST = 92;
const BARS = 12;
const NOTHING = "0x" + "0".repeat(64);
let rows = [];
let before = null;
let used = "";

const model = (row) => row.noted.model ?? "";
const by = (row) => row.noted.key ?? "";
const INPUT = ["input_token", "cached_input_token", "cache_write_token", "input_audio_token"];
const OUTPUT = ["output_token", "reasoning_token", "output_audio_token"];
const tokens = (row, meters) => meters.reduce((sum, name) => sum + (row.units[name] ?? 0), 0);
const input = (row) => tokens(row, INPUT);
const output = (row) => tokens(row, OUTPUT);
/** In ms; null where the network's clock, which says the end, is behind the gateway's, which says the beginning. */
const took = (row) => (row.noted.started && row.ended_at >= row.noted.started ? row.ended_at - row.noted.started : null);
const day = (row) => new Date(row.ended_at).toISOString().slice(0, 10);
const receipt = (row) => element("a", { href: `/explorer/receipts/${encodeURIComponent(row.id)}` }, `${row.seq}`);

const COLUMNS = [
  ["Ended", (row) => moment(row.ended_at), "time"],
  ["Model", (row) => model(row) + (row.parent === NOTHING ? "" : " (a step)")],
  ["Tokens in", (row) => `${input(row)}`, "number"],
  ["Tokens out", (row) => `${output(row)}`, "number"],
  ["Charged", (row) => amount(row.charge), "number"],
  ["Took", (row) => (took(row) === null ? "" : `${took(row)} ms`), "number"],
  ["Tokens a second", (row) => (took(row) > 0 && output(row) ? (output(row) * 1000 / took(row)).toFixed(1) : ""), "number"],
  ["Provider", (row) => short(row.noted.provider), "address"],
  ["Key", (row) => by(row)],
  ["End", (row) => row.end.replaceAll("_", " ")],
  ["Receipt", receipt],
];

function wanted() {
  const [from, to] = [one("from").value, one("to").value];
  return rows.filter(
    (row) =>
      model(row).includes(one("model").value.trim()) &&
      by(row).includes(one("by").value.trim()) &&
      (!from || day(row) >= from) &&
      (!to || day(row) <= to),
  );
}

/** Sums of what was charged, by what `of` says of a row. */
function sums(found, of) {
  const made = new Map();
  for (const row of found) made.set(of(row), (made.get(of(row)) ?? 0n) + BigInt(row.charge));
  return [...made];
}

/** A plot of sums, and the same numbers as a table. */
function plot(title, found, draw) {
  const name = title.toLowerCase();
  const shown = element("table");
  table(shown, [[title, ([one]) => one || "–"], ["Charged", ([, spent]) => amount(spent), "number"]], found.slice(0, MOST), "nothing");
  const region = (ariaLabel, child) => element("div", { className: "wide", tabIndex: 0, role: "region", ariaLabel }, child);
  const numbers = element("details", {}, element("summary", {}, "The same as a table"), region(`Charged by ${name}, as a table`, shown));
  const drawn = found.length ? region(`Charged by ${name}`, draw(found, `Charged by ${name}; the table below has the same numbers`, amount)) : null;
  return element("section", { id: `by-${name}` }, element("h2", {}, `By ${name}`), drawn, numbers);
}

const some = (rows, label, said) => bars(rows.slice(0, BARS), label, said);
const daily = (rows, label, said) => columns(eachDay(rows), label, said);

function show() {
  const found = wanted();
  const total = found.reduce((sum, row) => sum + BigInt(row.charge), 0n);
  const largest = (a, b) => (a[1] < b[1] ? 1 : a[1] > b[1] ? -1 : 0);
  one("sum").textContent = `${found.length} receipts of ${rows.length} that were read, ${amount(total)} charged.`;
  const days = sums(found, day).sort((a, b) => (a[0] < b[0] ? 1 : -1));
  one("plots").replaceChildren(
    plot("Day", days, daily),
    plot("Model", sums(found, model).sort(largest), some),
    plot("Key", sums(found, by).sort(largest), some),
  );
  table(one("calls"), COLUMNS, found, "No call is found.");
  one("more").hidden = before === null;
}

async function load() {
  const page = await ask(`/v1/receipts?limit=${PAGE}${before === null ? "" : `&before=${before}`}`);
  rows = rows.concat(page.data);
  before = page.has_more ? page.before : null;
}

begin(async () => {
  if (used !== key()) [rows, before, used] = [[], null, key()];
  if (!rows.length) await load();
  show();
});
on(one("filters"), "submit", show);
on(one("more"), "click", async () => {
  await load();
  show();
});
on(one("csv"), "click", () => {
  const head = ["ended_at", "model", "tokens_in", "tokens_out", "charge_atoms", "took_ms", "provider", "key", "end", "receipt"];
  const lines = wanted().map((row) => [
    new Date(row.ended_at).toISOString(), model(row), input(row), output(row), row.charge, took(row), row.noted.provider,
    by(row), row.end, row.id,
  ]);
  download("activity.csv", csv([head, ...lines]));
});
