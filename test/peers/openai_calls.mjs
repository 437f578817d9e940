// openai_calls.mjs - some calls of OpenAI's own client, for the test beside it.
//
// usage: node openai_calls.mjs BASE_URL KEY; prints one JSON object.
import OpenAI from "openai";

const [baseURL, apiKey] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey, maxRetries: 0 });
const ask = { model: "m", messages: [{ role: "user", content: "say it" }] };
const seen = {};

async function attempt(name, call) {
  try {
    seen[name] = await call();
  } catch (error) {
    seen[name] = {
      error: error.constructor.name,
      status: error.status ?? null,
      message: error.message,
      retryAfter: error.headers?.get?.("retry-after") ?? null,
    };
  }
}

await attempt("plain", async () => {
  const answer = await client.chat.completions.create(ask);
  return {
    id: answer._request_id,
    text: answer.choices[0].message.content,
    end: answer.choices[0].finish_reason,
    usage: answer.usage,
  };
});
await attempt("stream", async () => {
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
});
await attempt("bad", () =>
  client.chat.completions.create({ model: "m", messages: "none" }));
await attempt("models", async () => {
  const page = await client.models.list();
  return page.data.length;
});
console.log(JSON.stringify(seen));
