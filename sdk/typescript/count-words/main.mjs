// An example: a tool that counts the lines, words and characters of a text, or of a file of the
// workspace.
import { serve } from "./plugin.mjs";
async function countWords(parameters, host) {
    const { text, path } = parameters;
    const content = typeof path === "string" ? await host.read(path) : String(text ?? "");
    await host.log(`counted ${content.length} characters`);
    return {
        lines: content === "" ? 0 : content.replace(/\n$/, "").split("\n").length,
        words: content.split(/\s+/u).filter((word) => word !== "").length,
        characters: [...content].length,
    };
}
serve({ count_words: countWords });
