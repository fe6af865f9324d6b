// The plugin's side of the connection to clawproof-runtime: the wire of nng over ipc:// (pair,
// version 0) with JSON-RPC 2.0 in its messages. It needs nothing but Node. docs/plugins.md has the
// bytes and the limits.
import { connect } from "node:net";
/** What the runtime refused, in its words. */
export class Refused extends Error {
}
const GREETING = Uint8Array.of(0, 0x53, 0x50, 0, 0, 0x10, 0, 0);
const HEADER = 9;
const LONGEST = 1_000_000;
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });
/** Takes messages out of the bytes of a connection: a greeting, then type, length, body. */
class Messages {
    #bytes = new Uint8Array(0);
    #greeted = false;
    push(piece) {
        const all = new Uint8Array(this.#bytes.length + piece.length);
        all.set(this.#bytes);
        all.set(piece, this.#bytes.length);
        this.#bytes = all;
        if (!this.#greeted) {
            if (this.#bytes.length < GREETING.length)
                return [];
            if (GREETING.some((byte, at) => this.#bytes[at] !== byte))
                throw new Error("another protocol");
            this.#bytes = this.#bytes.subarray(GREETING.length);
            this.#greeted = true;
        }
        const found = [];
        while (this.#bytes.length >= HEADER) {
            const view = new DataView(this.#bytes.buffer, this.#bytes.byteOffset, HEADER);
            const length = Number(view.getBigUint64(1));
            if (view.getUint8(0) !== 1 || length > 8 * LONGEST)
                throw new Error("no message");
            if (this.#bytes.length < HEADER + length)
                break;
            found.push(JSON.parse(decoder.decode(this.#bytes.subarray(HEADER, HEADER + length))));
            this.#bytes = this.#bytes.subarray(HEADER + length);
        }
        return found;
    }
}
/** One connection to the runtime. */
class Link {
    #socket;
    #tools;
    #waiting = new Map();
    #next = 0;
    constructor(path, tools) {
        this.#tools = tools;
        this.#socket = connect(path);
        const messages = new Messages();
        this.#socket.on("connect", () => this.#socket.write(GREETING));
        this.#socket.on("data", (piece) => {
            for (const message of messages.push(piece))
                void this.#take(message);
        });
        this.#socket.on("error", (error) => { console.error(error.message); process.exit(1); });
        this.#socket.on("close", () => process.exit(0));
    }
    async log(message) { await this.#ask("log", { message }); }
    async tools() { return (await this.#ask("tool.list", {})).tools; }
    async read(path) {
        return (await this.#ask("workspace.read", { path })).content;
    }
    #ask(method, params) {
        const id = ++this.#next;
        this.#send({ jsonrpc: "2.0", id, method, params });
        return new Promise((done, fail) => this.#waiting.set(id, { done, fail }));
    }
    async #take(message) {
        if (typeof message.method !== "string") {
            const waiting = this.#waiting.get(message.id);
            this.#waiting.delete(message.id);
            const error = message.error;
            if (error)
                waiting?.fail(new Refused(String(error.message)));
            else
                waiting?.done(message.result ?? null);
            return;
        }
        const id = message.id ?? null;
        try {
            this.#send({ jsonrpc: "2.0", id, result: await this.#answer(message.method, (message.params ?? {})) });
        }
        catch (error) {
            const words = error instanceof Error ? error.message : String(error);
            this.#send({ jsonrpc: "2.0", id, error: { code: -32000, message: words } });
        }
    }
    async #answer(method, params) {
        if (method === "plugin.hello")
            return { protocol: 1 };
        const tool = method === "tool.call" ? this.#tools.get(String(params.tool)) : undefined;
        if (!tool)
            throw new Error("there is no such tool");
        const answer = await tool((params.arguments ?? {}), this);
        return typeof answer === "string" ? { content: answer } : answer;
    }
    #send(message) {
        const body = encoder.encode(JSON.stringify(message));
        const frame = new Uint8Array(HEADER + body.length);
        const view = new DataView(frame.buffer);
        view.setUint8(0, 1);
        view.setBigUint64(1, BigInt(body.length));
        frame.set(body, HEADER);
        this.#socket.write(frame);
    }
}
/**
 * Answers calls of these tools until the runtime ends this process. The names are those that
 * plugin.json declares; a text that a tool returns is what the model reads, an object comes to it
 * as JSON.
 */
export function serve(tools) {
    const place = process.argv[2];
    if (!place)
        throw new Error("this program is started by clawproof-runtime");
    new Link(place.replace(/^ipc:\/\//, ""), new Map(Object.entries(tools)));
}
