// Debian's Chromium on our pages: pictures of them, what axe says about them, and what they weigh.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import { mkdirSync, readFileSync } from "node:fs";
import path from "node:path";
import { chromium } from "playwright-core";

const axe = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

const looks = [
    { name: "phone-light", width: 360, height: 740 },
    { name: "phone-dark", width: 360, height: 740, colorScheme: "dark" },
    { name: "desktop-light", width: 1280, height: 800 },
    { name: "desktop-dark", width: 1280, height: 800, colorScheme: "dark" },
];

/** What some people have beside. */
const conditions = [
    { name: "forced-colours", width: 1280, height: 800, forcedColors: "active" },
    { name: "forced-colours-dark", width: 360, height: 740, forcedColors: "active", colorScheme: "dark" },
    { name: "more-contrast", width: 360, height: 740, contrast: "more" },
    { name: "more-contrast-dark", width: 1280, height: 800, contrast: "more", colorScheme: "dark" },
    { name: "right-to-left", width: 360, height: 740, dir: "rtl" },
    { name: "zoomed-to-200", width: 640, height: 400 },
    { name: "printed", width: 1280, height: 800, media: "print", colorScheme: "dark" },
];

export const launch = () =>
    chromium.launch({
        executablePath: process.env.CHROMIUM,
        args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
    });

/** A browser of its own for a person. What the pages break, the security policy above all, is an error. Without scripts, only
 * the debugger has some. */
export async function newBrowser(chromium, { scripts = true, ...options } = {}) {
    const context = await chromium.newContext({ ignoreHTTPSErrors: true, locale: "en-GB", ...options });
    context.setDefaultTimeout(40_000);
    const page = await context.newPage();
    page.complaints = [];
    page.on("console", (m) => m.type() === "error" && !/Failed to load resource/.test(m.text()) && page.complaints.push(m.text()));
    page.on("pageerror", (err) => page.complaints.push(String(err)));
    const debug = await context.newCDPSession(page);
    const allow = (value) => debug.send("Emulation.setScriptExecutionDisabled", { value: !value });
    page.withScripts = async (run) => {
        await allow(true);
        await run();
        await allow(scripts);
    };
    await allow(scripts);
    return page;
}

/** Does what leads to another page, and waits until it is there. */
export async function arrive(page, run) {
    await Promise.all([page.waitForEvent("framenavigated"), run()]);
    await page.waitForLoadState();
}

/** What is wrong with the page as it is now: by axe, and by what our pages promise. Forced colours are the system's own. */
async function problemsOf(forced) {
    const rules = { "color-contrast": { enabled: !forced } };
    const { violations } = await globalThis.axe.run(document, { resultTypes: ["violations"], rules });
    const small = [...document.querySelectorAll("button, a.button, input:not([type=hidden]):not([type=checkbox])")]
        .filter((e) => e.getClientRects().length > 0 && e.getBoundingClientRect().height < 44)
        .map((e) => `target of ${e.getBoundingClientRect().height}px: ${e.outerHTML}`);
    const wide = document.documentElement.scrollWidth > document.documentElement.clientWidth ? ["wider than the screen"] : [];
    const turned = [...document.querySelectorAll("input[type=text], input[type=password], .usercode")]
        .filter((e) => e.id !== "password" && getComputedStyle(e).direction !== "ltr")
        .map((e) => `turned: ${e.outerHTML}`);
    return [...violations.map((v) => `${v.id}: ${v.help}: ${v.nodes.map((n) => n.html).join(" ")}`), ...small, ...wide, ...turned];
}

/** The first thing that the keyboard reaches has a ring of 3 px around it. */
async function ringOf() {
    const first = document.querySelector("main :is(input:not([type=hidden]), button, a)");
    first?.focus({ focusVisible: true });
    return !first || getComputedStyle(first).outlineWidth === "3px" ? [] : [`no ring: ${first.outerHTML}`];
}

/** On paper: dark on light, and nothing that can be pressed. */
function inkOf() {
    const left = [...document.querySelectorAll(".button, input:not([type=hidden])")].filter((e) => e.getClientRects().length > 0);
    const ink = [document.body, ...document.querySelectorAll(".panel")]
        .map((e) => [getComputedStyle(e).color, getComputedStyle(e).backgroundColor].join(" on "))
        .filter((ink) => ink !== "rgb(0, 0, 0) on rgb(255, 255, 255)");
    return [...ink, ...left.map((e) => `printed: ${e.outerHTML}`)];
}

/** Looks at a page on a phone and on a desktop, in light and in dark: a picture, axe, and whether everything fits. */
export class Inspector {
    seen = [];

    constructor(directory) {
        this.directory = directory;
        mkdirSync(directory, { recursive: true });
    }

    /** @param everyone also as people see it who have set up their system otherwise. */
    async look(page, name, { everyone = false } = {}) {
        const { width, height } = page.viewportSize();
        const problems = [];
        await page.withScripts(async () => {
            await page.evaluate(axe); // By the debugger's hand: the page's own policy lets nothing in.
            for (const look of everyone ? [...looks, ...conditions] : looks) {
                const found = await this.#see(page, name, look);
                problems.push(...found.map((f) => `${name}, ${look.name}: ${f}`));
            }
            if (everyone) problems.push(...(await page.evaluate(ringOf)).map((f) => `${name}: ${f}`));
        });
        await page.setViewportSize({ width: 320, height: 640 });
        if (await page.evaluate(() => document.documentElement.scrollWidth > 320)) problems.push(`${name}: wider than 320 px`);
        await page.setViewportSize({ width, height });
        problems.push(...page.complaints.splice(0).map((c) => `${name}: ${c}`));
        assert.deepEqual(problems, []);
        this.seen.push(name);
    }

    async #see(page, name, { name: look, width, height, dir = null, colorScheme = "light", forcedColors = null, contrast = null, media = null }) {
        const own = await page.evaluate((dir) => {
            const own = document.documentElement.dir;
            document.documentElement.dir = dir ?? own;
            return own;
        }, dir);
        await page.setViewportSize({ width, height });
        await page.emulateMedia({ colorScheme, forcedColors, contrast, media });
        await page.screenshot({ path: path.join(this.directory, `${name}-${look}.png`), fullPage: true });
        const found = await page.evaluate(media === "print" ? inkOf : problemsOf, forcedColors);
        await page.emulateMedia({ colorScheme: null, forcedColors: null, contrast: null, media: null });
        await page.evaluate((own) => void (document.documentElement.dir = own), own);
        return found;
    }
}
