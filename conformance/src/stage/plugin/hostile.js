// A plugin that does what the suite tells it, good or bad. It speaks the wire of nng over ipc://
// (pair, version 0) and needs nothing but Node. What it is to do when it starts and how the target
// speaks stands before this text as TOLD; what it is to do in a call stands in the call's argument
// `plan`. It must never do anything by itself.
"use strict";
const fs = require("node:fs");
const net = require("node:net");
const zlib = require("node:zlib");

const GREETING = Buffer.from([0, 0x53, 0x50, 0, 0, 0x10, 0, 0]);
const path = process.argv[2].replace(/^ipc:\/\//, "");
const pause = (ms) => new Promise((done) => setTimeout(done, ms));
const bytes = (packed) => zlib.gunzipSync(Buffer.from(packed, "base64"));
const kept = [];

function connect(to, from) {
  return new Promise((done) => {
    const link = { socket: net.connect(to), seen: [], waiting: [], had: Buffer.alloc(0), open: true };
    link.frame = (body) => {
      const head = Buffer.alloc(9);
      head[0] = 1;
      head.writeBigUInt64BE(BigInt(body.length), 1);
      link.socket.write(Buffer.concat([head, body]));
    };
    link.say = (message) => link.frame(Buffer.from(JSON.stringify(message)));
    link.socket.on("error", () => {});
    link.socket.on("close", () => { link.open = false; for (const wake of link.waiting.splice(0)) wake(); done(link); });
    link.socket.on("connect", () => { fs.writeSync(1, "connected\n"); link.socket.write(GREETING); });
    link.socket.on("data", (piece) => {
      link.had = Buffer.concat([link.had, piece]);
      if (!link.greeted) {
        if (link.had.length < 8) return;
        link.greeted = true;
        link.had = link.had.subarray(8);
        done(link);
      }
      while (link.had.length >= 9) {
        const length = Number(link.had.readBigUInt64BE(1));
        if (link.had.length < 9 + length) return;
        const body = link.had.subarray(9, 9 + length);
        link.had = link.had.subarray(9 + length);
        let message = null;
        try { message = JSON.parse(body.toString()); } catch {}
        if (message && message.method && message.id !== undefined) from(link, message);
        else { link.seen.push(message); for (const wake of link.waiting.splice(0)) wake(); }
      }
    });
  });
}

// Waits until so many messages came that are no request, or the time is over.
async function listen(link, count, ms) {
  const until = Date.now() + ms;
  while (link.open && link.seen.length < count && Date.now() < until) {
    await Promise.race([pause(until - Date.now()), new Promise((wake) => link.waiting.push(wake))]);
  }
}

async function attempt(what) {
  try { return { got: String(await what()).slice(0, 400) }; } catch (error) { return { error: String(error.code || error.message) }; }
}

function reach({ host, port, say }) {
  return new Promise((done, fail) => {
    const socket = net.connect(port, host, () => { socket.end(say); done("connected"); });
    socket.setTimeout(1500, () => { socket.destroy(); fail(new Error("no answer")); });
    socket.on("error", fail);
  });
}

// One step. `link` is the connection to the host, none before there is one; `id` that of the call.
async function step(it, link, id) {
  if (it.pause) await pause(it.pause);
  if (it.exit !== undefined) process.exit(it.exit);
  if (it.hang) for (;;);
  if (it.send) {
    const text = bytes(it.send);
    const body = Buffer.from(text.toString("latin1").replaceAll("@ID@", String(id)), "latin1");
    if (it.raw) link.socket.write(body);
    else {
      const frames = [];
      let begin = 0;
      for (let end = body.indexOf(10); ; end = body.indexOf(10, begin)) {
        const line = body.subarray(begin, end < 0 ? body.length : end);
        const head = Buffer.alloc(9);
        head[0] = 1;
        head.writeBigUInt64BE(BigInt(line.length), 1);
        if (line.length || begin === 0) frames.push(head, line);
        if (end < 0) break;
        begin = end + 1;
        if (begin === body.length) break;
      }
      link.socket.write(Buffer.concat(frames));
    }
  }
  if (it.ask) { link.say({ jsonrpc: "2.0", id: "asked", method: it.ask, params: it.with || {} }); }
  if (it.listen) await listen(link, it.count || 1, it.listen);
  if (it.bomb) {
    try {
      while (kept.length < it.bomb) kept.push(Buffer.alloc(1 << 20, kept.length + 1));
      return { got: kept.length };
    } catch (error) { return { got: kept.length, error: String(error.message) }; }
  }
  if (it.stderr) {
    const line = Buffer.from(`${it.words || "log line"}\n`.repeat(1000));
    for (let left = it.stderr; left > 0; left -= 1000) fs.writeSync(2, line);
  }
  if (it.environment) return Object.entries(process.env).map((pair) => pair.join("="));
  if (it.descriptors) {
    const found = [];
    for (const name of fs.readdirSync("/proc/self/fd")) {
      try { found.push(`${name} ${fs.readlinkSync(`/proc/self/fd/${name}`)}`); } catch {}
    }
    return found;
  }
  if (it.read) return attempt(() => fs.readFileSync(it.read, "utf8"));
  if (it.write) return attempt(() => fs.writeFileSync(it.write, it.text || "x"));
  if (it.list) return attempt(() => fs.readdirSync(it.list).join(" "));
  if (it.reach) return attempt(() => reach(it.reach));
  if (it.socket) return attempt(async () => { const other = await connect(it.socket, () => {}); if (!other.greeted) throw new Error("closed"); return "greeted"; });
  return null;
}

// What stands at a JSON pointer, and an object that has a value there.
const at = (value, pointer) => pointer.split("/").slice(1).reduce((it, key) => (it ? it[key] : undefined), value);
const holding = (pointer, value) => pointer.split("/").slice(1).reduceRight((it, key) => ({ [key]: it }), value);

async function answer(link, message) {
  if (message.method === TOLD.hello) { link.say({ jsonrpc: "2.0", id: message.id, result: TOLD.welcome }); return; }
  if (message.method !== TOLD.call) return;
  const plan = (at(message, TOLD.arguments) || {}).plan || { steps: [] };
  const did = [];
  link.seen.length = 0;
  for (const it of plan.steps) did.push(await step(it, link, message.id));
  const told = { mark: plan.mark, made: TOLD.made, did, saw: link.seen.slice(0, 20), count: link.seen.length };
  told.results = link.seen.filter((it) => it && it.result !== undefined).length;
  link.say({ jsonrpc: "2.0", id: message.id, result: holding(TOLD.answer, JSON.stringify(told)) });
}

(async () => {
  for (const it of TOLD.start) await step(it, null, 0);
  const link = await connect(path, (link, message) => answer(link, message));
  link.socket.on("close", () => process.exit(0));
})();
