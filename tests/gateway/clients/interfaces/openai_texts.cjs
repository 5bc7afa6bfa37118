// `openai` for JavaScript: completions, plain and streamed, and embeddings as it asks for them by default.
const assert = require("node:assert/strict");
const OpenAI = require("openai");

const [url, key, maker] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: key, maxRetries: 0 });
const [dialog, kb] = [`@${maker}/dialog`, `@${maker}/kb`];

async function main() {
  const asked = { model: dialog, prompt: "How long is the warranty?", max_tokens: 40 };
  const made = await client.completions.create(asked);
  assert.ok(made.choices[0].text.length > 20);
  assert.equal(made.model, dialog);
  assert.ok(made._request_id);

  const stream = await client.completions.create({ ...asked, stream: true, stream_options: { include_usage: true } });
  let said = "";
  let usage = null;
  for await (const event of stream) {
    said += event.choices[0]?.text ?? "";
    usage = event.usage ?? usage;
  }
  assert.equal(said, made.choices[0].text);
  const { cost, ...tokens } = usage; // what it cost is in a stream's usage alone
  assert.ok(cost > 0);
  assert.deepEqual(tokens, made.usage);

  const found = await client.embeddings.create({ model: kb, input: ["how long is the warranty?", "hello"] });
  assert.deepEqual(found.data.map((row) => row.embedding.length), [48, 48]);
  assert.equal(found.model, kb);

  await assert.rejects(client.embeddings.create({ model: dialog, input: "hello" }), (error) => {
    assert.equal(error.status, 400);
    assert.equal(error.code, "wrong_protocol");
    return true;
  });
}

main().then(() => console.log("done: plain, streamed, usage, refused"));
