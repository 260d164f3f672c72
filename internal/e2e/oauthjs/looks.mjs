// Our pages in Chromium without scripts: how they look and what axe says, to everyone, in the states that pages.mjs does not meet.
// looks.mjs HOMESERVER USER_ID LOCALPART OTHER SCREENSHOTS EDGE, with PASSWORD and CHROMIUM. The user is an administrator with 30
// sessions, OTHER has the same password, EDGE is the process whose child checks passwords.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import http2 from "node:http2";
import { arrive, Inspector, launch, newBrowser } from "./lib/chromium.mjs";
import { Client, matrixScope } from "./lib/client.mjs";
import { step } from "./lib/run.mjs";
import { Site } from "./lib/site.mjs";

const [base, userId, localpart, other, directory, edge] = process.argv.slice(2);
const { PASSWORD } = process.env;
const adminScope = (device) => `${matrixScope(device)} urn:synapse:admin:*`;
const chromium = await launch();
const inspector = new Inspector(directory);
const console = Object.assign(new Client(), { base, id: "console", redirectUri: "https://console.example.com/callback" });
const page = await newBrowser(chromium, { scripts: false });
const look = (name, options, at = page) => inspector.look(at, `plain-${name}`, options);
const everyone = { everyone: true };
const press = (name, at = page) => arrive(at, () => at.getByRole("button", { name, exact: true }).click());
const main = (at = page) => at.locator("main").innerText();
const focused = (at = page) => at.locator(":focus").getAttribute("id");

async function signIn(at = page, { name = localpart, password = PASSWORD } = {}) {
    if ((await at.getByLabel("User name").count()) > 0) await at.getByLabel("User name").fill(name);
    await at.getByLabel("Password").fill(password);
    await arrive(at, () => at.keyboard.press("Enter"));
}

await step("pages about what went wrong say what to do, and lead on", async () => {
    await page.goto(`${base}/login`);
    for (const [name, path, text, on] of [
        ["expired", "/consent/01JD9K7W3QAAAAAAAAAAAAAAAA", /has expired/, "/account/"],
        ["expired-device", "/device/01JD9K7W3QAAAAAAAAAAAAAAAA", /has expired/, "/link"],
        ["bad-request", "/login?kind=nonsense", /is broken/, "/account/"],
        ["not-found", "/device/nowhere", /no such page/, "/account/"],
    ]) {
        await page.goto(base + path);
        assert.match(await main(), text);
        assert.equal(await page.locator("main a.button").getAttribute("href"), on);
        await look(name, name === "expired" ? everyone : {});
    }
    await page.goto(`${base}/link`);
    await page.evaluate(() => (document.querySelector("[name=proof]").value = "of another page"));
    await page.getByLabel("Code").fill("BCDF-BCDF");
    await press("Next");
    assert.match(await main(), /out of date/);
    await look("stale");
    await arrive(page, () => page.getByRole("link", { name: "Try again" }).click());
    assert.equal(await page.getByLabel("Code").count(), 1);
});

await step("the first wrong field has the focus", async () => {
    await page.goto(`${base}/login`);
    assert.equal(await focused(), "username");
    await signIn(page, { name: "@alice:elsewhere.example" });
    assert.match(await page.getByRole("alert").innerText(), /on another server/);
    assert.equal(await focused(), "username");
    assert.equal(await page.getByLabel("Password").getAttribute("aria-invalid"), null);
    await look("sign-in-foreign");
    await signIn(page, { password: "wrong" });
    assert.equal(await focused(), "username");
    await look("sign-in-wrong", everyone);
});

await step("who is asked for another account is told so", async () => {
    await page.goto(console.url({ prompt: "select_account" }));
    await look("sign-in-select");
    const site = await Site.listen("127.0.0.1");
    const app = await Client.register(base, "http://127.0.0.1/callback", { port: site.port });
    await page.goto(app.url({ scope: "openid" }));
    assert.match(await main(), /A program that calls itself Element wants/);
    await signIn();
    await look("consent-website");
    await page.getByRole("button", { name: "Allow", exact: true }).click();
    const { url } = await site.visit((v) => v.url.startsWith("/callback"));
    const { id_token } = await (await app.redeem(new URL(url, "http://x").searchParams.get("code"))).json();
    const theirs = await newBrowser(chromium, { scripts: false });
    await theirs.goto(`${base}/login`);
    await signIn(theirs, { name: other });
    await theirs.goto(app.url({ id_token_hint: id_token }));
    assert.match(await main(theirs), /asks for a different account/);
    await look("sign-in-expected", {}, theirs);
    await theirs.context().close();
    site.close();
});

await step("the operator's own program, and the rights over the server that it asks for", async () => {
    await page.goto(console.url({ scope: matrixScope("CONSOLE001") }));
    assert.doesNotMatch(await main(), /calls itself/);
    await look("consent-configured");
    await page.goto(console.url({ scope: adminScope("CONSOLE001") }));
    assert.match(await main(), /Administer the whole server/);
    await look("consent-admin", everyone);
    const begun = await console.startDevice(adminScope("CONSOLE002"));
    await page.goto(begun.verification_uri);
    await look("link");
    await page.getByLabel("Code").fill("BCDF-BCDF");
    await press("Next");
    await look("link-wrong", everyone);
    await page.getByLabel("Code").fill(begun.user_code);
    await press("Next");
    assert.match(await main(), /Administer the whole server/);
    await press("Sign that device in");
    await look("device-admin-unticked", everyone);
    await page.getByRole("checkbox").check();
    await press("Sign that device in");
    await look("device-done");
    await page.goto((await console.startDevice()).verification_uri_complete);
    await press("Next");
    await look("device");
    await press("Do not sign it in");
    await look("device-denied");
});

await step("more sessions than fit on a page", async () => {
    await page.goto(`${base}/account/`);
    assert.ok((await main()).includes(userId));
    assert.equal(await page.locator(".items > li").count(), 25);
    await look("account", everyone);
    await arrive(page, () => page.getByRole("link", { name: "Older sessions" }).click());
    await look("account-older");
    await arrive(page, () => page.locator(".about a").first().click());
    await look("session", everyone);
    await arrive(page, () => page.getByRole("link", { name: "End this session…" }).click());
    await look("session-end");
    await press("End session");
    await look("account-ended");
    await page.goto(`${base}/account/?action=org.matrix.device_view&device_id=`);
    assert.match(await main(), /does not exist/);
    await page.goto(`${base}/account/end-others`);
    assert.match(await main(), /And \d+ more/);
    await look("end-others");
});

await step("the encryption identity", async () => {
    await page.goto(`${base}/account/reset`);
    await look("reset");
    await page.getByLabel("Password").fill("wrong");
    await press("Allow the reset");
    assert.equal(await focused(), "password");
    await look("reset-wrong", everyone);
    await page.getByLabel("Password").fill(PASSWORD);
    await press("Allow the reset");
    await look("reset-done");
});

await step("a password that cannot be checked, since everybody signs in at once and nobody gets on", async () => {
    await page.goto(`${base}/login?other=1`);
    const { stdout } = spawnSync("pgrep", ["-P", edge], { encoding: "utf8" });
    const hashers = stdout.split("\n").filter(Boolean).map(Number);
    assert.ok(hashers.length > 0);
    hashers.forEach((pid) => process.kill(pid, "SIGSTOP"));
    const body = JSON.stringify({ type: "m.login.password", identifier: { type: "m.id.user", user: localpart }, password: "wrong" });
    const crowd = Array.from({ length: 6 }, () => http2.connect(base));
    const head = { ":method": "POST", ":path": "/_matrix/client/v3/login", "content-type": "application/json" };
    await new Promise((resolve) => { // Until one of them is turned away: the queue is full.
        const turned = (answer) => answer[":status"] === 503 && resolve();
        for (const one of crowd) {
            for (let i = 0; i < 200; i++) one.request(head).on("error", () => {}).on("response", turned).end(body);
        }
    });
    await signIn();
    assert.match(await page.getByRole("alert").innerText(), /could not be checked just now/);
    await look("sign-in-unavailable");
    crowd.forEach((one) => one.destroy());
    hashers.forEach((pid) => process.kill(pid, "SIGCONT"));
});

await step("sign out", async () => {
    await page.goto(`${base}/logout`);
    await look("sign-out");
    await press("Sign out");
    await look("signed-out");
});

process.stdout.write(`looked at ${inspector.seen.length} pages\n`);
await chromium.close();
process.exit(0);
