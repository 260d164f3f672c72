// What becomes of a fragment that somebody put on a link to the authorization endpoint, in Chromium: fragment.mjs HOMESERVER
// USER_ID LOCALPART, with PASSWORD and CHROMIUM.
import assert from "node:assert/strict";
import { arrive, launch, newBrowser } from "./lib/chromium.mjs";
import { Client } from "./lib/client.mjs";
import { step } from "./lib/run.mjs";
import { Site } from "./lib/site.mjs";

const [base, , localpart] = process.argv.slice(2);
const { PASSWORD } = process.env;
const chromium = await launch();
const site = await Site.listen("127.0.0.1");
const app = await Client.register(base, "http://127.0.0.1/callback", { port: site.port });
const button = (page, name) => page.getByRole("button", { name, exact: true });

async function signIn(page) {
    await page.getByLabel("User name").fill(localpart);
    await page.getByLabel("Password").fill(PASSWORD);
    await arrive(page, () => page.keyboard.press("Enter"));
}

async function allow(page) {
    await signIn(page);
    await button(page, "Allow").click();
}

/** Follows a link with a fragment to the client's page, and returns where that is. */
async function follow(page, request, act) {
    await page.goto(`${app.url(request)}#code=injected`);
    await act(page);
    await page.waitForURL(/callback/);
    const url = new URL(page.url());
    assert.ok(!url.href.includes("injected"), url.href);
    return url;
}

for (const [name, request, act, answer] of [
    ["allowed", {}, allow, "code"],
    ["denied on the sign-in page", {}, (page) => button(page, "Cancel").click(), "error"],
    ["denied on the consent page", {}, (page) => signIn(page).then(() => button(page, "Cancel").click()), "error"],
    ["refused at once", { code_challenge: "" }, () => undefined, "error"],
    ["refused without a page", { prompt: "none" }, () => undefined, "error"],
]) {
    await step(`MAS 6a99e56c8: the fragment of a link does not reach the client: ${name}`, async () => {
        const page = await newBrowser(chromium);
        const byQuery = await follow(page, request, act);
        assert.ok(byQuery.searchParams.get(answer), byQuery.href);
        assert.equal(byQuery.hash, "");
        await page.context().close();
        const another = await newBrowser(chromium);
        const byFragment = await follow(another, { ...request, response_mode: "fragment" }, act);
        assert.ok(new URLSearchParams(byFragment.hash.slice(1)).get(answer), byFragment.href);
        await another.context().close();
    });
}

await step("MAS 6a99e56c8: nor does it where nobody is asked, or by form_post", async () => {
    const page = await newBrowser(chromium);
    const request = { scope: "openid", response_mode: "query" };
    await follow(page, request, allow);
    const silent = await follow(page, { ...request, prompt: "none" }, () => undefined);
    assert.ok(silent.searchParams.get("code"), silent.href);
    const posted = await follow(page, { ...request, response_mode: "form_post" }, () => undefined);
    assert.equal(posted.hash, "");
});

site.close();
await chromium.close();
process.exit(0);
