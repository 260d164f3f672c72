// A person at our pages with a browser that knows links, forms and cookies, and runs no scripts.
import assert from "node:assert/strict";
import http from "node:http";
import https from "node:https";

const entities = { amp: "&", lt: "<", gt: ">", quot: '"', apos: "'" };
const decode = (s) =>
    s.replace(/&(?:#x([0-9a-f]+)|#([0-9]+)|([a-z]+));/gi, (all, hex, dec, name) =>
        hex ? String.fromCodePoint(parseInt(hex, 16)) : dec ? String.fromCodePoint(+dec) : (entities[name] ?? all));

const attributes = (tag) => {
    const found = {};
    for (const m of tag.replace(/^<[a-z]+/i, "").matchAll(/([a-z-]+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]+)))?/gi))
        found[m[1].toLowerCase()] = decode(m[2] ?? m[3] ?? m[4] ?? "");
    return found;
};

/** The forms of a page: where each goes, its fields, and its buttons. */
function formsOf(html, base) {
    return [...html.matchAll(/<form\b[^>]*>[\s\S]*?<\/form>/gi)].map(([text]) => {
        const form = attributes(text.match(/<form\b[^>]*>/i)[0]);
        const inputs = [...text.matchAll(/<input\b[^>]*>/gi)].map((m) => attributes(m[0])).filter((i) => i.name);
        const buttons = [...text.matchAll(/<button\b[^>]*>/gi)].map((m) => attributes(m[0]));
        return { action: new URL(form.action || base, base).href, method: (form.method ?? "get").toLowerCase(), inputs, buttons };
    });
}

/** Makes a request with exactly these headers: fetch would add what scripts send, and our pages take nothing from scripts. */
const request = (url, { method = "GET", headers = {}, body }) =>
    new Promise((resolve, reject) => {
        const { request } = url.startsWith("https:") ? https : http;
        const sent = request(url, { method, headers }, (answer) => {
            const chunks = [];
            answer.on("data", (c) => chunks.push(c));
            answer.on("error", reject);
            answer.on("end", () => resolve({ status: answer.statusCode, headers: answer.headers, html: Buffer.concat(chunks).toString() }));
        });
        sent.on("error", reject);
        sent.end(body);
    });

export class Person {
    #cookies = new Map();

    constructor(localpart, password) {
        Object.assign(this, { localpart, password });
    }

    /** Follows redirects as long as they stay at our pages; one that leaves them is returned as location. */
    async open(url, init = {}) {
        const origin = new URL(url).origin;
        for (let hops = 0; hops < 10; hops++) {
            const headers = { ...init.headers, "accept": "text/html", "accept-language": "en" };
            if (this.#cookies.size > 0) headers.cookie = [...this.#cookies].map(([k, v]) => `${k}=${v}`).join("; ");
            const answer = await request(url, { ...init, headers });
            for (const line of answer.headers["set-cookie"] ?? []) this.#keep(line);
            const { location } = answer.headers;
            if (!location) return { url, ...answer, forms: formsOf(answer.html, url) };
            if (!location.startsWith(`${origin}/`) && !location.startsWith("/")) return { status: answer.status, location };
            url = new URL(location, url).href;
            init = {};
        }
        throw new Error(`too many redirects, the last to ${url}`);
    }

    #keep(line) {
        const [pair, ...rest] = line.split(";").map((s) => s.trim());
        const name = pair.slice(0, pair.indexOf("="));
        if (rest.some((a) => /^max-age=(0|-)/i.test(a))) this.#cookies.delete(name);
        else this.#cookies.set(name, pair.slice(name.length + 1));
    }

    /** Sends a form with what a person types, ticks and presses. */
    submit(page, form, typed = {}, button = undefined) {
        const body = new URLSearchParams();
        for (const i of form.inputs) {
            const value = typed[i.name] ?? (i.type === "checkbox" ? (typed.ticked ? (i.value ?? "on") : undefined) : (i.value ?? ""));
            if (value !== undefined) body.append(i.name, value);
        }
        if (button?.name) body.append(button.name, button.value ?? "");
        assert.equal(form.method, "post");
        return this.open(form.action, {
            method: "POST",
            body: body.toString(),
            headers: {
                "content-type": "application/x-www-form-urlencoded",
                "origin": new URL(page.url).origin,
                "referer": page.url,
                "sec-fetch-site": "same-origin",
                "sec-fetch-mode": "navigate",
                "sec-fetch-dest": "document",
            },
        });
    }

    /** Enters name and password if the page asks for them. */
    async signIn(page) {
        const form = page.forms?.find((f) => f.inputs.some((i) => i.type === "password"));
        if (!form) return page;
        const password = form.inputs.find((i) => i.type === "password").name;
        const name = form.inputs.find((i) => i.autocomplete === "username" && i.type !== "hidden")?.name;
        return this.submit(page, form, { ...(name ? { [name]: this.localpart } : {}), [password]: this.password });
    }

    /** Presses the button of a decision, "allow" or "cancel"; boxes are ticked first. */
    decide(page, decision) {
        for (const form of page.forms ?? []) {
            const button = form.buttons.find((b) => b.value === decision);
            if (button) return this.submit(page, form, { ticked: true }, button);
        }
        throw new Error(`no button for ${decision} at ${page.url} (${page.status}):\n${page.html?.slice(0, 2000)}`);
    }

    /** Goes from an authorization URL to the redirect back, with a yes or a no. */
    async authorize(url, decision = "allow") {
        const asked = await this.signIn(await this.open(url));
        if (asked.location) return asked.location;
        const { location, ...page } = await this.decide(asked, decision);
        assert.ok(location, `a redirect to the client, not a page: ${page.status}\n${page.html?.slice(0, 2000)}`);
        return location;
    }

    /** Approves another device by the address that it shows. */
    async approveDevice(url, decision = "allow") {
        let page = await this.signIn(await this.open(url));
        for (let i = 0; i < 3 && !page.forms.some((f) => f.buttons.some((b) => b.value === decision)); i++) {
            const form = page.forms.find((f) => f.inputs.some((x) => x.name === "code"));
            assert.ok(form, `a form for the code at ${page.url} (${page.status}):\n${page.html.slice(0, 2000)}`);
            page = await this.signIn(await this.submit(page, form));
        }
        return this.decide(page, decision);
    }
}
