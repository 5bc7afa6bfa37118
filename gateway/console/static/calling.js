// What the pages that call a model share: a call with the reader's key, its stream, what to do when it is refused, and
// what it cost, line by line. Whatever models and gateways say is put in as text.
import { Refused, amount, ask, atoms, element, one, own, request, short, table, tell } from "./account.js";

const SHOWN_CHARACTERS = 1_000_000;
const FOUND_TRIES = 20;
const FOUND_EVERY_MS = 250;
const PUBLIC_TRIES = 120;
const PUBLIC_EVERY_MS = 5_000;

/** Call a route. `most` are the atoms that it may cost. Throws Refused. */
export const post = (path, body, { signal, most } = {}) =>
  request(path, { method: "POST", body, signal, headers: most ? { "Tollway-Max-Price": most } : {} });

/** The events of a stream, as they come. Throws Refused for one that says an error, or a stream without an end. */
export async function* events(answer) {
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let left = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Refused(502, { message: "the answer was cut before its end", code: "cut" }, null);
    const lines = (left + value).split("\n");
    left = lines.pop();
    for (const line of lines) {
      if (line === "data: [DONE]") return;
      if (!line.startsWith("data:")) continue;
      const event = JSON.parse(line.slice(5));
      if (event.error) throw new Refused(502, event.error, null);
      yield event;
    }
  }
}

/** The commands take whole tokens: atoms as such a number. */
const tokens = (atoms) => amount(atoms).split(" ")[0];

/** What to do about a refusal: a sentence, facts by name, and a command to type. */
export function remedy(error) {
  const facts = error.facts ?? {};
  const money = [["It may cost", "required"], ["You have left", "available"], ["Missing", "shortfall"]]
    .filter(([, name]) => /^\d+$/.test(facts[name] ?? ""))
    .map(([name, fact]) => [name, amount(facts[fact])]);
  if (error.status === 401) {
    return { says: "The gateway does not accept this key: it is mistyped, revoked or has expired.", command: "tollway consumer key" };
  }
  if (error.status === 402) return { facts: money, ...unaffordable(facts) };
  if (error.status === 403) return { says: "This key may not do that.", command: "tollway consumer keys" };
  if (error.status === 429) {
    return { says: `That was too much in a minute. Try again ${error.wait ? `in ${error.wait} s` : "in a while"}.` };
  }
  if (error.status >= 500) {
    const charged = facts.charge ?? "0";
    const paid = charged === "0" ? "" : ` ${amount(charged)} were charged for what was served.`;
    const again = error.wait ? ` Try again in ${error.wait} s.` : "";
    const whose = error.status === 500 ? "The gateway failed." : "Whoever serves it failed, or cannot be reached; your request is all right.";
    return { says: `${whose}${paid}${again}` };
  }
  return { says: "The gateway refused the request." };
}

/** Why there is not money enough, and what helps. */
function unaffordable(facts) {
  if (facts.code === "above_max_price") {
    const allowed = /^\d+$/.test(facts.max_price ?? "") ? ` ${amount(facts.max_price)}` : "";
    return { says: `It may cost more than the${allowed} that you allow: allow more, or ask for fewer tokens.` };
  }
  if (facts.short_of === "budget") {
    return { says: "The key's budget does not reach: ask for fewer tokens, or raise it.", command: "tollway consumer change-key ID --budget AMOUNT" };
  }
  if (facts.short_of === "voucher") {
    return { says: "The voucher behind this key does not reach: make a key with a higher one.", command: "tollway consumer key" };
  }
  const missing = /^\d+$/.test(facts.shortfall ?? "") ? tokens(facts.shortfall) : "AMOUNT";
  return { says: "The deposit does not reach. Ask for fewer tokens, or deposit more.", command: `tollway consumer deposit ${missing}` };
}

/** Show why a call failed, or with null nothing. */
export function showProblem(error) {
  const place = one("problem");
  place.hidden = error === null;
  if (error === null) return place.replaceChildren();
  if (!(error instanceof Refused)) {
    const says = "The connection to the gateway broke. Whether the call was charged stands in your activity.";
    return place.replaceChildren(element("p", {}, element("strong", {}, says)), element("p", { className: "quiet" }, error.message));
  }
  const { says, facts = [], command } = remedy(error);
  const rows = facts.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]);
  place.replaceChildren(
    element("p", {}, element("strong", {}, says)),
    rows.length ? element("dl", { className: "facts" }, ...rows) : "",
    command ? element("p", {}, element("code", {}, command)) : "",
    element("p", { className: "quiet" }, `${error.message} (${error.status}${error.facts.code ? `, ${error.facts.code}` : ""})`),
  );
}

/** An answer that grows: its text, at most so long, as one text node. */
export function growing(place) {
  const text = document.createTextNode("");
  place.replaceChildren(text);
  return (more) => {
    if (text.length < SHOWN_CHARACTERS) text.appendData(more.slice(0, SHOWN_CHARACTERS - text.length));
    place.scrollTop = place.scrollHeight;
  };
}

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const read = (id) => ask(`/v1/receipts/${encodeURIComponent(id)}`);

/** A receipt by its id, as soon as it is there: that of a call which was stopped comes a moment later. null: none. */
async function receiptOf(id) {
  for (let tries = 0; tries < FOUND_TRIES; tries += 1) {
    try {
      return await read(id);
    } catch (error) {
      if (error.status !== 404) throw error;
    }
    await sleep(FOUND_EVERY_MS);
  }
  return null;
}

/** Every payment that a receipt and those of its sub-calls make: [what was called, role, party, atoms]. */
async function payments(verifier, shown, what) {
  const { bytes, price, receipt, terms } = verifier;
  const signed = receipt.receiptOf(shown.receipt);
  const due = price.charge(terms.decode(bytes.fromHex(shown.terms.body)), signed.units, signed.subcallTotal);
  const rows = due.payments.filter((paid) => paid.amount > 0n)
    .map((paid) => [what, terms.ROLES[paid.role], paid.party, paid.amount]);
  for (const sub of shown.subs) {
    const inner = await read(sub.id);
    rows.push(...await payments(verifier, inner, inner.noted?.model ?? "a step"));
  }
  return rows;
}

const COLUMNS = [
  ["Called", (row) => row[0]],
  ["Role", (row) => row[1]],
  ["Party", (row) => element("span", { className: "mono address", title: row[2] }, short(row[2]))],
  ["Gets", (row) => element("span", { title: `${row[3]} atoms` }, amount(row[3])), "number"],
];

/**
 * Tell how calls ended, each its receipt's id and what it called, and show what they cost: the sum of all payments,
 * which no rebate is in.
 */
export async function showPaid(calls, how) {
  const found = await Promise.all(calls.filter(([id]) => id).map(async ([id, what]) => ({ shown: await receiptOf(id), what })));
  const charged = found.filter(({ shown }) => shown !== null);
  if (!charged.length) return tell(`${how} No receipt has come, so nothing was charged.`);
  const paid = await showCost(charged);
  tell(`${how} It cost ${amount(paid)}.`);
}

/**
 * Show what calls cost: who is paid what, recomputed here from each receipt's own terms; whether its signature holds; and
 * where its page is, once everybody can see it. Returns the atoms in all.
 */
async function showCost(charged) {
  const verifier = await import("./receipt-verifier.js");
  const rows = [];
  for (const { shown, what } of charged) rows.push(...await payments(verifier, shown, what));
  table(one("lines"), COLUMNS, rows, "Nobody is paid: it was free of charge.");
  const paid = rows.reduce((sum, row) => sum + row[3], 0n);
  one("sum").textContent = `${amount(paid)} in all, of which every atom goes to somebody above.`;
  const checks = [];
  const named = (what) => (charged.length > 1 ? `${what}: ` : "");
  for (const { shown, what } of charged) {
    for await (const check of verifier.verification.verify({ shown })) {
      if (check.ok !== null) checks.push(element("li", {}, `${check.ok ? "✓" : "✗"} ${named(what)}${check.says}`));
    }
  }
  one("checks").replaceChildren(...checks);
  one("cost").hidden = false;
  followed += 1;
  const places = charged.map(({ what }) => element("p", {}, named(what)));
  one("receipts").replaceChildren(...places);
  charged.forEach(({ shown, what }, at) => followReceipt(shown, places[at], named(what)));
  return paid;
}

let followed = 0;

/** Say where a receipt's page is. Until its batch is public nobody but its payer sees it, so it is no link yet. */
async function followReceipt(shown, place, named) {
  const turn = followed;
  for (let tries = 0; turn === followed; tries += 1) {
    if (shown.batch !== null && shown.batch.public) {
      const link = element("a", { href: `/explorer/receipts/${encodeURIComponent(shown.id)}` }, "Its receipt");
      return place.replaceChildren(named, link, `, in batch ${shown.batch.number}: verify it there in your browser.`);
    }
    if (!tries) place.replaceChildren(named, "Its receipt is number ", element("span", { className: "mono" }, shown.id), ". It has a page, with its place in a batch to verify, as soon as that batch is on its way to the chain; then this line leads there.");
    if (tries === PUBLIC_TRIES) return;
    await sleep(PUBLIC_EVERY_MS);
    if (turn !== followed || document.hidden) continue;
    shown = await read(shown.id).catch(() => shown);
  }
}

/** The most tokens of an answer that the form allows. */
export function limitOf(field) {
  const limit = Number(field.value);
  if (!Number.isSafeInteger(limit) || limit < 1) throw new Error("the most tokens are a whole number above 0");
  return limit;
}

/** The atoms that a call may cost at most, of the form; undefined without a limit. */
export function mostOf(field) {
  const said = field.value.trim();
  if (!said) return undefined;
  const most = atoms(said);
  if (most === null || most === "0") throw new Error(`the most that it may cost is an amount of ${own.dataset.symbol} such as 0.01`);
  return most;
}

/** Whether a call is under way. The focus goes with the button that can be pressed. */
export function busy(is) {
  const [from, to] = is ? [one("send"), one("stop")] : [one("stop"), one("send")];
  to.disabled = false;
  if (document.activeElement === from) to.focus();
  from.disabled = true;
  one("answer").setAttribute("aria-busy", String(is));
}

/** Send when the form is sent or Ctrl and Enter are pressed, stop by the button or Escape. What is thrown is told. */
export function onSend(send, stop, failed) {
  const tried = async (event) => {
    event.preventDefault();
    try {
      await send();
    } catch (error) {
      failed();
      busy(false);
      tell(error.message, "bad");
    }
  };
  one("ask").addEventListener("submit", tried);
  one("ask").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) tried(event);
  });
  one("stop").addEventListener("click", stop);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") stop();
  });
}
