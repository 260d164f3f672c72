// Debian's Chromium on our pages: pictures of them, what axe says about them, and what they weigh.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { mkdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { chromium } from "playwright-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const looks = [
    { name: "phone-light", width: 360, height: 740, colorScheme: "light" },
    { name: "phone-dark", width: 360, height: 740, colorScheme: "dark" },
    { name: "desktop-light", width: 1280, height: 800, colorScheme: "light" },
    { name: "desktop-dark", width: 1280, height: 800, colorScheme: "dark" },
];

export const launch = () =>
    chromium.launch({
        executablePath: process.env.CHROMIUM,
        args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
    });

/** A browser of its own for a person. What the pages break, the security policy above all, is an error. */
export async function newBrowser(chromium, options = {}) {
    const context = await chromium.newContext({ ignoreHTTPSErrors: true, locale: "en-GB", ...options });
    context.setDefaultTimeout(40_000);
    const page = await context.newPage();
    page.complaints = [];
    page.on("console", (m) => m.type() === "error" && !/Failed to load resource/.test(m.text()) && page.complaints.push(m.text()));
    page.on("pageerror", (err) => page.complaints.push(String(err)));
    return page;
}

/** Does what leads to another page, and waits until it is there. */
export async function arrive(page, run) {
    await Promise.all([page.waitForEvent("framenavigated"), run()]);
    await page.waitForLoadState();
}

/** Looks at a page on a phone and on a desktop, in light and in dark: a picture, axe, and whether everything fits. */
export class Inspector {
    seen = [];

    constructor(directory) {
        this.directory = directory;
        mkdirSync(directory, { recursive: true });
    }

    async look(page, name) {
        const { width, height } = page.viewportSize();
        const problems = [];
        await page.evaluate(axe); // By the debugger's hand: the page's own policy lets nothing in.
        for (const look of looks) {
            await page.setViewportSize({ width: look.width, height: look.height });
            await page.emulateMedia({ colorScheme: look.colorScheme });
            await page.screenshot({ path: path.join(this.directory, `${name}-${look.name}.png`), fullPage: true });
            const found = await page.evaluate(async () => {
                const { violations } = await globalThis.axe.run(document, { resultTypes: ["violations"] });
                const small = [...document.querySelectorAll("button, a.button, input:not([type=hidden]):not([type=checkbox])")]
                    .filter((e) => e.getBoundingClientRect().height < 44 && !e.classList.contains("small"))
                    .map((e) => `target of ${e.getBoundingClientRect().height}px: ${e.outerHTML}`);
                const wide = document.documentElement.scrollWidth > document.documentElement.clientWidth ? ["wider than the screen"] : [];
                return [...violations.map((v) => `${v.id}: ${v.help}: ${v.nodes.map((n) => n.html).join(" ")}`), ...small, ...wide];
            });
            problems.push(...found.map((f) => `${name}, ${look.name}: ${f}`));
        }
        await page.setViewportSize({ width: 320, height: 640 });
        if (await page.evaluate(() => document.documentElement.scrollWidth > 320)) problems.push(`${name}: wider than 320 px`);
        await page.setViewportSize({ width, height });
        await page.emulateMedia({ colorScheme: null });
        problems.push(...page.complaints.splice(0).map((c) => `${name}: ${c}`));
        assert.deepEqual(problems, []);
        this.seen.push(name);
    }
}
