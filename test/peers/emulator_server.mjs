// emulator_server.mjs - llm-emulator on a free port of this machine only; its
// own command would listen for everybody.
//
// usage: node emulator_server.mjs; prints the URL, and runs until it is ended.
import express from "express";
import { caseWhen, createLlmEmulatorRouter, define } from "llm-emulator";

const ANSWER = "a fixed answer: \u00e9, \u{1F30D} and \u2028.";
const fast = { latency: { meanMs: 0, p95Ms: 0 } };
const failing = (kind, more) => ({ ...fast, faults: [{ kind, ...more }] });

const config = define({
  server: { port: 0 },
  env: "test",
  seed: 1,
  matching: { order: ["pattern"] },
  contracts: { provider: "openai", mode: "off" },
  vcr: { enabled: false },
  scenarios: [],
  httpMocks: [],
  defaults: { fallback: "nothing" },
  cases: [
    caseWhen("say it", () => ANSWER, fast),
    caseWhen("be slow", () => ANSWER, { latency: { meanMs: 40, p95Ms: 60 } }),
    caseWhen("bad request", () => "", failing("HTTP_400")),
    caseWhen("wrong key", () => "", failing("HTTP_401")),
    caseWhen("broken server", () => "", failing("HTTP_503")),
    caseWhen("half an answer", () => "", failing("MALFORMED_JSON")),
    caseWhen("no answer", () => "", failing("TIMEOUT")),
    caseWhen("slow down", () => "",
      failing("HTTP_429", { retryAfterSec: 500 })),
  ],
});

// What it logs goes elsewhere: the URL alone is for standard output.
console.log = console.error;
const app = express();
app.use(await createLlmEmulatorRouter(config));
const server = app.listen(0, "127.0.0.1", () => {
  process.stdout.write(`http://127.0.0.1:${server.address().port}/v1\n`);
});
