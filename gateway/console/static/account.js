// What the reader's own pages share: the API key, which stays in this tab, requests with it, tables and amounts.
// Whatever comes from the gateway is put in as text.
import * as amounts from "./amounts.js";

const PLACE = "tollway.key";
export const own = document.getElementById("own");
const said = document.getElementById("said");

export const key = () => sessionStorage.getItem(PLACE) ?? "";
export const keep = (value) => sessionStorage.setItem(PLACE, value);
export const one = (id) => document.getElementById(id);

/** A refusal with its status, its code and facts, and after how many seconds to try again, if it says so. */
export class Refused extends Error {
  constructor(status, error, wait) {
    super(error.message ?? `the gateway answered ${status}`);
    Object.assign(this, { status, facts: error, wait });
  }
}

/** Ask a route of this gateway with the key. Throws Refused. */
export async function request(path, { method = "GET", body, headers = {}, signal } = {}) {
  const named = { Authorization: `Bearer ${key()}`, ...headers };
  if (body !== undefined) named["Content-Type"] = "application/json";
  const text = body === undefined ? undefined : JSON.stringify(body);
  const answer = await fetch(path, { method, headers: named, body: text, signal, credentials: "omit" });
  if (answer.ok) return answer;
  const failed = await answer.json().catch(() => ({}));
  throw new Refused(answer.status, failed.error ?? {}, Number(answer.headers.get("retry-after")) || null);
}

export const ask = async (path, options) => (await request(path, options)).json();

export function tell(text, kind = "") {
  said.className = `notice ${kind}`;
  said.textContent = text;
  said.hidden = !text;
}

export const amount = (atoms) => amounts.amount(atoms, own.dataset);
export const atoms = (text) => amounts.atoms(text, own.dataset);

export const moment = (ms) => (ms ? `${new Date(ms).toISOString().replace("T", " ").slice(0, 19)} UTC` : "");
export const short = (text) => (text && text.length > 14 ? `${text.slice(0, 6)}…${text.slice(-4)}` : (text ?? ""));
export const lasting = (ms) => (ms < 120_000 ? `${Math.floor(ms / 1000)} s` : `${Math.floor(ms / 60_000)} min`);

/** An element with properties and children; texts become text. */
export function element(name, properties = {}, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** Fill a table. A column is [title, cell of a row, class]; a cell is a text or an element. */
export function table(target, columns, rows, nothing) {
  const head = columns.map(([title, , kind]) => element("th", { scope: "col", className: kind ?? "" }, title));
  const lines = rows.map((row) =>
    element("tr", {}, ...columns.map(([, cell, kind]) => element("td", { className: kind ?? "" }, cell(row) ?? ""))),
  );
  if (!lines.length) lines.push(element("tr", {}, element("td", { colSpan: columns.length }, nothing)));
  target.replaceChildren(element("thead", {}, element("tr", {}, ...head)), element("tbody", {}, ...lines));
}

export function tiles(target, rows) {
  const shown = rows.map(([name, value, more]) =>
    element("div", {}, element("dt", {}, name), element("dd", {}, value, more ? element("small", {}, more) : null)),
  );
  target.replaceChildren(...shown);
}

/** A cell of a CSV file. What a spreadsheet would run as a formula gets an apostrophe. */
function cell(value) {
  const text = String(value ?? "");
  const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export const csv = (rows) => rows.map((row) => row.map(cell).join(",") + "\r\n").join("");

/** Have the browser store a text as a file. */
export function download(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
  element("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Begin: `show` fills the page each time there is a key. What it throws is told. */
export function begin(show) {
  const form = one("key-form");
  const field = one("key");
  const forget = one("forget");
  const again = async () => {
    forget.hidden = !key();
    own.hidden = true;
    if (!key()) return tell("");
    tell("Reading…");
    try {
      await show();
      own.hidden = false;
      tell("");
    } catch (error) {
      tell(error.message, "bad");
    }
  };
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (field.value.trim()) keep(field.value.trim());
    field.value = "";
    again();
  });
  forget.addEventListener("click", () => {
    sessionStorage.removeItem(PLACE);
    field.value = "";
    again();
  });
  again();
}

/** Do what a button asks for, and tell what goes wrong. */
export function on(target, event, act) {
  target.addEventListener(event, async (happened) => {
    happened.preventDefault();
    tell("");
    try {
      await act(happened);
    } catch (error) {
      tell(error.message, "bad");
    }
  });
}
