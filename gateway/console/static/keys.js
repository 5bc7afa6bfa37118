// One's keys: listed, made, rotated and revoked.
import { amount, ask, atoms, begin, element, keep, moment, on, one, table, tell } from "./account.js";

function revoking(key) {
  if (key.revoked_at) return `revoked ${moment(key.revoked_at)}`;
  const button = element("button", { type: "button", ariaLabel: `Revoke ${key.label || key.id}` }, "Revoke");
  on(button, "click", async () => {
    if (!confirm(`Revoke ${key.label || key.id}, and the keys that it made? Nothing undoes it.`)) return;
    await ask(`/v1/keys/${encodeURIComponent(key.id)}`, { method: "DELETE" });
    await show();
  });
  return button;
}

function budgets(key) {
  const whole = key.budget === null ? [] : [`${amount(key.left)} left of ${amount(key.budget)}`];
  const others = key.budgets.map((row) => {
    const what = [row.model, row.period && `a ${row.period}`].filter(Boolean).join(", ");
    return `${amount(row.left)} left of ${amount(row.amount)}${what ? ` (${what})` : ""}`;
  });
  return [...whole, ...others].join("; ") || "no limit";
}

const COLUMNS = [
  ["Label", (key) => key.label || "–"],
  ["Id", (key) => element("span", { className: "mono" }, key.id)],
  ["Budget", budgets],
  ["Calls a minute", (key) => (key.rate === null ? "no limit" : `${key.rate}`), "number"],
  ["Models", (key) => (key.models === null ? "all" : key.models.join(", "))],
  ["Rights", (key) => key.rights.join(", ") || "calls"],
  ["Last used", (key) => moment(key.last_used_at)],
  ["Good until", (key) => moment(key.expires_at)],
  ["State", revoking],
];

async function show() {
  const { data } = await ask("/v1/keys");
  table(one("keys"), COLUMNS, data, "There is no key.");
}

function reveal(secret) {
  one("secret").value = secret;
  one("secret-said").hidden = false;
  one("secret").focus();
}

/** The limits that the form names. */
function limits() {
  const [budget, rate, models, until] = ["budget", "rate", "models", "until"].map((id) => one(id).value.trim());
  const body = { label: one("label").value.trim() };
  if (budget && atoms(budget) === null) throw new Error("a budget is an amount such as 1.5");
  if (rate && !/^[1-9]\d*$/.test(rate)) throw new Error("calls a minute are a whole number");
  if (budget) body.budget = atoms(budget);
  if (rate) body.rate = Number(rate);
  if (models) body.models = models.split(",").map((name) => name.trim()).filter(Boolean);
  if (until) body.expires_at = Date.parse(`${until}T23:59:59Z`);
  return body;
}

begin(show);
on(one("make"), "submit", async () => {
  const made = await ask("/v1/keys", { method: "POST", body: limits() });
  one("make").reset();
  await show();
  reveal(made.key);
});
on(one("rotate"), "click", async () => {
  if (!confirm("Replace this key's secret? Whoever uses the old one is refused from now on.")) return;
  const made = await ask("/v1/keys/rotate", { method: "POST" });
  keep(made.key);
  await show();
  reveal(made.key);
  tell("This tab uses the new secret.");
});
