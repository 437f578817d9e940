// anthropic_calls.mjs - some calls of Anthropic's own client, for the test
// beside it.
//
// usage: node anthropic_calls.mjs BASE_URL KEY [NAME...]; prints one JSON
// object with what became of each call, or of those named.
import Anthropic from "@anthropic-ai/sdk";

const [baseURL, apiKey, ...wanted] = process.argv.slice(2);
const client = new Anthropic({ baseURL, apiKey, maxRetries: 0,
  timeout: 2000 });
const messages = [{ role: "user", content: "say it" }];
const ask = { model: "m", max_tokens: 99, system: "be brief", messages };
const tools = [{
  name: "weather",
  input_schema: {
    type: "object",
    properties: { city: { type: "string" }, days: { type: "integer" } },
  },
}];

const plain = (value) => JSON.parse(JSON.stringify(value ?? null));

const calls = {
  plain: async () => {
    const answer = await client.messages.create(ask);
    return { ...plain(answer), id: answer._request_id };
  },
  stream: async () => {
    const kinds = [];
    let text = "";
    const stream = await client.messages.create({ ...ask, stream: true });
    for await (const event of stream) {
      kinds.push(event.type);
      text += event.delta?.text ?? "";
    }
    return { kinds, text };
  },
  // Its own accumulator puts the deltas together.
  runner: async () =>
    plain(await client.messages.stream(ask).finalMessage()),
  tools: async () => plain(await client.messages.create({ ...ask, tools })),
  toolsRunner: async () =>
    plain(await client.messages.stream({ ...ask, tools }).finalMessage()),
  result: async () => {
    const first = await client.messages.create({ ...ask, tools });
    return plain(await client.messages.create({
      ...ask,
      tools,
      messages: [...messages, { role: "assistant", content: first.content },
        { role: "user", content: [{ type: "tool_result",
          tool_use_id: first.content[0].id, content: "sunny" }] }],
    }));
  },
  bad: () => client.messages.create({ model: "m", messages }),
  count: async () => plain(await client.messages.countTokens(
    { model: "m", messages })),
  models: async () => {
    const names = [];
    for await (const model of client.models.list()) {
      names.push(model.id);
    }
    return names;
  },
};

const seen = {};
for (const [name, call] of Object.entries(calls)) {
  if (wanted.length > 0 && !wanted.includes(name)) {
    continue;
  }
  try {
    seen[name] = await call();
  } catch (error) {
    seen[name] = {
      error: error.constructor.name,
      status: error.status ?? null,
      type: error.error?.error?.type ?? null,
      message: error.message,
      retryAfter: error.headers?.get?.("retry-after") ?? null,
    };
  }
}
console.log(JSON.stringify(seen));
