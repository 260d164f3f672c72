// What every client program here has: steps that print a line each, and what Node 20 lacks.
import assert from "node:assert/strict";

// The one thing of Node 22 that the SDKs use and Node 20 has not.
Promise.withResolvers ??= () => {
    const made = {};
    made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
    return made;
};

/** Runs one step of the program. The first one that fails ends it with status 1. */
export async function step(name, run) {
    try {
        const result = await run();
        process.stdout.write(`ok ${name}\n`);
        return result;
    } catch (err) {
        process.stdout.write(`not ok ${name}\n${err.stack}\n${err.cause?.stack ?? ""}\n`);
        process.exit(1);
    }
}

/** The SDKs tell every request; what counts is said by the steps. */
export function hush() {
    for (const level of ["debug", "info", "log", "warn", "error", "trace"]) console[level] = () => {};
}

/** Loses answers: while told to, requests that match reach the server, and their answers never come. */
export class LossyNetwork {
    lost = 0;
    #losing = () => false;

    constructor() {
        const real = globalThis.fetch;
        globalThis.fetch = async (resource, options) => {
            const answer = await real(resource, options);
            if (!this.#losing(String(resource?.url ?? resource))) return answer;
            await answer.arrayBuffer();
            this.lost++;
            throw new TypeError("fetch failed");
        };
    }

    async during(match, run) {
        const before = this.lost;
        this.#losing = match;
        try {
            await assert.rejects(run());
        } finally {
            this.#losing = () => false;
        }
        assert.ok(this.lost > before, "an answer was lost");
    }
}

/** The parameters of a redirect back to the client, from its query or its fragment. */
export function responseOf(location, redirectUri, mode) {
    assert.ok(location.startsWith(redirectUri), `${location} goes back to ${redirectUri}`);
    const url = new URL(location);
    const params = mode === "fragment" ? new URLSearchParams(url.hash.slice(1)) : url.searchParams;
    assert.equal(url.hash !== "", mode === "fragment", `${location} answers by ${mode}`);
    return params;
}
