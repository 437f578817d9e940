// A script of the usual kind on OpenAI's own client: a file of requests, so
// many at a time, a file of replies.
//
// usage: node openai_batch.mjs INPUT OUTPUT URL CONCURRENCY
import fs from "node:fs";
import readline from "node:readline";
import OpenAI from "openai";

const [source, target, baseURL, most] = process.argv.slice(2);
const client = new OpenAI({ apiKey: "none", baseURL, maxRetries: 2 });
const lines = readline.createInterface({ input: fs.createReadStream(source) })[
  Symbol.asyncIterator]();
const out = fs.createWriteStream(target);

async function work() {
  for (let next = await lines.next(); !next.done; next = await lines.next()) {
    const line = JSON.parse(next.value);
    const body = await client.chat.completions.create(line.body);
    out.write(JSON.stringify({
      custom_id: line.custom_id,
      response: { status_code: 200, body },
      error: null,
    }) + "\n");
  }
}

await Promise.all(Array.from({ length: Number(most) }, work));
out.end();
