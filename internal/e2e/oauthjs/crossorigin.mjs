// matrix-js-sdk 43 in a page of another origin, as Element Web lives: crossorigin.mjs HOMESERVER USER_ID LOCALPART,
// with PASSWORD and CHROMIUM. What Node does not enforce is enforced here: CORS.
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { arrive, launch, newBrowser } from "./lib/chromium.mjs";
import { step } from "./lib/run.mjs";
import { Site } from "./lib/site.mjs";

const [base, userId, localpart] = process.argv.slice(2);
const file = (name) => fileURLToPath(new URL(`lib/${name}`, import.meta.url));
const bundle = await step("the bundle", async () => {
    const { outputFiles } = await build({
        entryPoints: [file("element.mjs")],
        alias: { "@matrix-org/matrix-sdk-crypto-wasm": file("nothing.cjs") },
        bundle: true,
        format: "esm",
        logLevel: "error",
        platform: "browser",
        write: false,
    });
    return outputFiles[0].text;
});

const site = await Site.listen("localhost", undefined, `<!doctype html><meta charset=utf-8><title>App</title><pre id=log></pre><script type=module>\n${bundle.replaceAll("</script", "<\\/script")}\n</script>`);
const chromium = await launch();
const page = await newBrowser(chromium);

await step("COR-01, COR-03, COR-05, COR-08, E18: discovery, registration, sign-in, refresh, errors and revocation across origins", async () => {
    await page.goto(`http://localhost:${site.port}/#${new URLSearchParams({ base })}`);
    await page.waitForURL(`${base}/login?**`).catch(async (err) => {
        throw new Error(`${await page.locator("#log").innerText()} ${page.complaints}`, { cause: err });
    });
    await page.getByLabel("User name").fill(localpart);
    await page.getByLabel("Password").fill(process.env.PASSWORD);
    await arrive(page, () => page.keyboard.press("Enter"));
    await page.getByRole("button", { name: "Allow", exact: true }).click();
    await page.waitForURL(/^http:\/\/localhost/);
    await page.locator("#log").getByText(/finished|failed/).waitFor();
    const log = await page.locator("#log").innerText();
    assert.match(log, /finished/, log);
    assert.ok(log.includes(`whoami ${userId}`), log);
    process.stdout.write(log.replace(/^/gm, "# ") + "\n");
});

await chromium.close();
site.close();
process.exit(0);
