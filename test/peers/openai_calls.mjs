// openai_calls.mjs - some calls of OpenAI's own client, for the test beside it.
//
// usage: node openai_calls.mjs BASE_URL KEY [NAME...]; prints one JSON object
// with what became of each call, or of those named.
import OpenAI from "openai";

const [baseURL, apiKey, ...wanted] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0, timeout: 2000 });
const messages = [{ role: "user", content: "say it" }];
const ask = { model: "m", messages };
const schema = {
  type: "object",
  properties: { city: { type: "string" }, days: { type: "integer" } },
};
const nested = { type: "function",
  function: { name: "weather", parameters: schema } };
const flat = { type: "function", name: "weather", parameters: schema,
  strict: false };

// What streams hand over is not all of JSON's making: only what is.
const plain = (value) => JSON.parse(JSON.stringify(value ?? null));

const calls = {
  plain: async () => {
    const answer = await client.chat.completions.create(ask);
    return {
      id: answer._request_id,
      text: answer.choices[0].message.content,
      end: answer.choices[0].finish_reason,
      usage: answer.usage,
    };
  },
  stream: async () => {
    const chunks = [];
    const stream = await client.chat.completions.create({
      ...ask,
      stream: true,
      stream_options: { include_usage: true },
    });
    for await (const chunk of stream) {
      chunks.push(chunk);
    }
    const choices = chunks.flatMap((chunk) => chunk.choices);
    return {
      chunks: chunks.length,
      text: choices.map((choice) => choice.delta.content ?? "").join(""),
      end: choices.map((choice) => choice.finish_reason).filter(Boolean)[0],
      usage: chunks.at(-1).usage,
    };
  },
  // Its own accumulator puts the deltas together.
  runner: async () => {
    const stream = client.chat.completions.stream({ ...ask, tools: [nested] });
    const answer = await stream.finalChatCompletion();
    return plain(answer.choices[0]);
  },
  tools: async () => {
    const answer = await client.chat.completions.create({
      ...ask, tools: [nested] });
    return plain(answer.choices[0]);
  },
  result: async () => {
    const first = await client.chat.completions.create({
      ...ask, tools: [nested] });
    const { message } = first.choices[0];
    const answer = await client.chat.completions.create({
      model: "m",
      messages: [...messages, message, { role: "tool", content: "sunny",
        tool_call_id: message.tool_calls[0].id }],
      tools: [nested],
    });
    return plain(answer.choices[0]);
  },
  bad: () =>
    client.chat.completions.create({ model: "m", messages: "none" }),
  models: async () => (await client.models.list()).data.length,
  model: async () => plain(await client.models.retrieve("sim-small")),
  response: async () => {
    const answer = await client.responses.create({
      model: "m", input: "say it", instructions: "be brief" });
    return { id: answer._request_id, text: answer.output_text,
      status: answer.status, usage: answer.usage };
  },
  responseStream: async () => {
    const stream = await client.responses.create({
      model: "m", input: "say it", instructions: "be brief", stream: true });
    const kinds = [];
    let text = "";
    let last = null;
    for await (const event of stream) {
      kinds.push(event.type);
      text += event.type === "response.output_text.delta" ? event.delta : "";
      last = event.response ?? last;
    }
    return { kinds, text, status: last?.status, usage: last?.usage };
  },
  responseRunner: async () => {
    const stream = client.responses.stream({
      model: "m", input: "say it", tools: [flat] });
    return plain(await stream.finalResponse());
  },
  responseTools: async () => plain(await client.responses.create({
    model: "m", input: "say it", tools: [flat] })),
  embeddings: async () => {
    const answer = await client.embeddings.create({
      model: "m", input: ["one", "two"], dimensions: 8 });
    return plain(answer); // it asks for base64 by itself
  },
  floats: async () => plain(await client.embeddings.create({
    model: "m", input: ["one", "two"], dimensions: 8,
    encoding_format: "float" })),
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
      type: error.type ?? null,
      code: error.code ?? null,
      message: error.message,
      retryAfter: error.headers?.get?.("retry-after") ?? null,
    };
  }
}
console.log(JSON.stringify(seen));
