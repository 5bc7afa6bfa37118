// One's webhooks: listed, made, tried, enabled and deleted; and what each was sent.
import { ask, amount, atoms, begin, element, moment, on, one, table, tell } from "./account.js";

const LOOKS = 30;
const BETWEEN_MS = 500;
let shown = "";

const path = (hook) => `/v1/webhooks/${encodeURIComponent(hook.id)}`;

function button(words, hook, act) {
  const made = element("button", { type: "button", ariaLabel: `${words} ${hook.url}` }, words);
  on(made, "click", act);
  return made;
}

async function tryHook(hook) {
  let sent = await ask(`${path(hook)}/test`, { method: "POST" });
  tell("Sending…");
  for (let look = 0; !sent.attempts && look < LOOKS; look += 1) {
    await new Promise((resolve) => setTimeout(resolve, BETWEEN_MS));
    const { data } = await ask(`${path(hook)}/messages`);
    sent = data.find((message) => message.id === sent.id) ?? sent;
  }
  await show();
  await messages(hook);
  if (sent.status === "delivered") tell(`Its receiver answered ${sent.answer}.`);
  else tell(sent.error ?? "It was not sent yet: look again.", "bad");
}

async function deleteHook(hook) {
  if (!confirm(`Delete ${hook.url}, and what waits for it?`)) return;
  await ask(path(hook), { method: "DELETE" });
  if (shown === hook.id) one("sent").hidden = true;
  await show();
}

async function toggleHook(hook) {
  await ask(path(hook), { method: "PATCH", body: { enabled: !hook.enabled } });
  await show();
}

function state(hook) {
  if (!hook.enabled) return `disabled: ${hook.disabled_because}`;
  return hook.failing_since ? `fails since ${moment(hook.failing_since)}` : "enabled";
}

const COLUMNS = [
  ["URL", (hook) => element("span", { className: "mono" }, hook.url)],
  ["Told of", (hook) => hook.events.join(", ")],
  ["Low is less than", (hook) => (hook.threshold === null ? "–" : amount(hook.threshold))],
  ["State", state],
  ["To do", (hook) => element(
    "span", { className: "actions" },
    button("Test", hook, () => tryHook(hook)), " ", button("Messages", hook, () => messages(hook)), " ",
    button(hook.enabled ? "Disable" : "Enable", hook, () => toggleHook(hook)), " ",
    button("Delete", hook, () => deleteHook(hook)),
  )],
];
const SENT = [
  ["Made", (message) => moment(message.created_at)],
  ["Event", (message) => message.event],
  ["Status", (message) => message.status],
  ["Attempts", (message) => `${message.attempts}`, "number"],
  ["Answer", (message) => (message.answer === null ? "–" : `${message.answer}`), "number"],
  ["Why not", (message) => message.error ?? ""],
  ["Again at", (message) => (message.attempts ? moment(message.next_at) : "")],
  ["webhook-id", (message) => element("span", { className: "mono" }, message.id)],
];

async function messages(hook) {
  const { data } = await ask(`${path(hook)}/messages`);
  shown = hook.id;
  one("sent-title").textContent = `Messages to ${hook.url}`;
  table(one("messages"), SENT, data, "Nothing was sent yet.");
  one("sent").hidden = false;
}

async function show() {
  const { data } = await ask("/v1/webhooks");
  table(one("webhooks"), COLUMNS, data, "There is no webhook.");
}

/** The webhook that the form names. */
function wanted() {
  const events = [...document.querySelectorAll("#events input:checked")].map((box) => box.value);
  const threshold = one("threshold").value.trim();
  const body = { url: one("url").value.trim(), events };
  if (!events.length) throw new Error("choose at least one event");
  if (threshold && atoms(threshold) === null) throw new Error("what is low is an amount such as 1.5");
  if (threshold) body.threshold = atoms(threshold);
  return body;
}

begin(show);
on(one("make"), "submit", async () => {
  const made = await ask("/v1/webhooks", { method: "POST", body: wanted() });
  one("make").reset();
  await show();
  one("secret").value = made.secret;
  one("secret-said").hidden = false;
  one("secret").focus();
});
