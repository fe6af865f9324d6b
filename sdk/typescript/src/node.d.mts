// The little of Node that the SDK uses, so that it needs no other package to be compiled.
declare module "node:net" {
  export interface Socket {
    write(bytes: Uint8Array): boolean;
    end(): void;
    on(event: "data", heard: (bytes: Uint8Array) => void): this;
    on(event: "connect" | "close", heard: () => void): this;
    on(event: "error", heard: (error: Error) => void): this;
  }
  export function connect(path: string): Socket;
}
declare const console: { error(words: string): void };
declare const process: { argv: string[]; exit(code: number): never };
declare class TextEncoder { encode(text: string): Uint8Array; }
declare class TextDecoder { constructor(name: string, options: { fatal: boolean }); decode(bytes: Uint8Array): string; }
