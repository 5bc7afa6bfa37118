// A model's playground: an answer as it streams, how fast it comes, and what it cost.
import { Refused, begin, one, tell, tiles } from "./account.js";
import { busy, events, growing, limitOf, mostOf, onSend, post, showPaid, showProblem } from "./calling.js";
import { ms } from "./trace.js";

const { kind, path, model } = one("ask").dataset;
let stopping = null;

/** The body of the request that the form says. */
function body() {
  if (kind === "json") return JSON.parse(one("text").value);
  const limit = limitOf(one("most-tokens"));
  const text = one("text").value;
  const said = kind === "chat" ? { messages: [{ role: "user", content: text }] } : { prompt: text };
  return { model, ...said, max_tokens: limit, stream: true, stream_options: { include_usage: true } };
}

/** What is measured while it streams. Each event with text counts as a token until the usage says how many there were. */
function measure(began) {
  const seen = { pieces: 0, tokens: null, first: null, last: began, input: null };
  const show = () => {
    const count = seen.tokens ?? seen.pieces;
    const took = seen.last - (seen.first ?? began);
    tiles(one("measured"), [
      ["Tokens", `${seen.tokens === null && count ? "about " : ""}${count}`, seen.input === null ? "" : `and ${seen.input} of the question`],
      ["Tokens a second", count > 1 && took > 0 ? (((count - 1) * 1000) / took).toFixed(1) : "–", "after the first one"],
      ["First token", seen.first === null ? "–" : ms(Math.round(seen.first - began)), "after it was sent"],
      ["Took", ms(Math.round(seen.last - began))],
    ]);
  };
  return { seen, show };
}

/** Stream an answer into the page. Returns its receipt's id, if it has one. */
async function stream(answer, meter, say, think) {
  let id = answer.headers.get("tollway-call");
  for await (const event of events(answer)) {
    const choice = event.choices?.[0];
    const text = choice?.delta?.content ?? choice?.text ?? "";
    const thought = choice?.delta?.reasoning_content ?? choice?.delta?.reasoning ?? "";
    meter.seen.last = performance.now();
    if (typeof text === "string" && text) say(text);
    if (typeof thought === "string" && thought) think(thought);
    if (text || thought) {
      meter.seen.first ??= meter.seen.last;
      meter.seen.pieces += 1;
    }
    if (event.usage) [meter.seen.tokens, meter.seen.input] = [event.usage.completion_tokens, event.usage.prompt_tokens];
    id = event.tollway?.receipt ?? id;
    meter.show();
  }
  return id;
}

/** A whole answer, as JSON. Long lists of numbers are said by their beginning. */
async function whole(answer, meter, say) {
  const found = await answer.json();
  meter.seen.last = performance.now();
  const brief = (name, value) => (Array.isArray(value) && value.length > 16 && typeof value[0] === "number"
    ? [...value.slice(0, 8), `… ${value.length} numbers`] : value);
  say(JSON.stringify(found, brief, 1));
  if (found.usage) [meter.seen.tokens, meter.seen.input] = [found.usage.completion_tokens ?? 0, found.usage.prompt_tokens];
  meter.show();
  return answer.headers.get("tollway-receipt");
}

async function send() {
  if (stopping) return;
  showProblem(null);
  const [asked, most] = [body(), mostOf(one("most"))];
  stopping = new AbortController();
  const meter = measure(performance.now());
  const [say, think] = [growing(one("answer")), growing(one("thoughts"))];
  one("result").hidden = false;
  one("cost").hidden = true;
  one("thought").hidden = true;
  busy(true);
  tell("Waiting for the first token…");
  let id = null;
  try {
    const answer = await post(path, asked, { signal: stopping.signal, most });
    id = answer.headers.get("tollway-call") ?? answer.headers.get("tollway-receipt");
    tell("The answer comes…");
    const thinking = (text) => { one("thought").hidden = false; think(text); };
    id = await (kind === "json" ? whole(answer, meter, say) : stream(answer, meter, say, thinking)) ?? id;
    await paid(id, "Done.");
  } catch (error) {
    if (error.name === "AbortError") return await paid(id, "Stopped.");
    if (!(error instanceof Refused) && !(error instanceof TypeError)) throw error;
    tell("");
    showProblem(error);
    if (id) await paid(id, "It failed in the middle.");
  } finally {
    stopping = null;
    busy(false);
  }
}

/** Tell how a call ended, and show what it cost. */
async function paid(id, how) {
  stopping = null;
  busy(false);
  if (!id) return tell(`${how} It had not begun, so nothing is charged.`);
  await showPaid([[id, model]], how);
}

begin(async () => {});
onSend(send, () => stopping?.abort(), () => {
  stopping = null;
});
