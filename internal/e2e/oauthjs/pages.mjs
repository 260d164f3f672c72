// Our pages in Chromium: how they look and what axe says, sign-in to sign-out:
// pages.mjs HOMESERVER USER_ID LOCALPART SCREENSHOTS, with PASSWORD and CHROMIUM.
import assert from "node:assert/strict";
import { arrive, Inspector, launch, newBrowser } from "./lib/chromium.mjs";
import { Client, matrixScope } from "./lib/client.mjs";
import { step } from "./lib/run.mjs";
import { Site } from "./lib/site.mjs";

const [base, userId, localpart, directory] = process.argv.slice(2);
const { PASSWORD } = process.env;
const chromium = await launch();
const inspector = new Inspector(directory);
const site = await Site.listen("127.0.0.1");
const app = await Client.register(base, "http://127.0.0.1/callback", { port: site.port });
const page = await newBrowser(chromium);
const look = (name, at = page) => inspector.look(at, name);
const press = (name, at = page) => arrive(at, () => at.getByRole("button", { name, exact: true }).click());
const heading = (at = page) => at.locator("h1").innerText();

async function signIn(at = page, password = PASSWORD) {
    await at.getByLabel("User name").fill(localpart);
    await at.getByLabel("Password").fill(password);
    await arrive(at, () => at.keyboard.press("Enter"));
}

await step("AUZ-02: a client that nobody knows is a page", async () => {
    const answer = await page.goto(app.url({ client_id: "nobody" }));
    assert.equal(answer.status(), 400);
    await look("unknown-client");
    await page.goto(app.url({ redirect_uri: "http://127.0.0.1/elsewhere" }));
    await look("bad-redirect");
    assert.equal(site.visits.length, 0);
});

await step("AUZ-13, AUZ-21: sign in: the name is filled in, the password is not, no other site may frame it", async () => {
    const answer = await page.goto(app.url({ login_hint: `mxid:${userId}` }));
    assert.match(answer.headers()["content-security-policy"], /frame-ancestors 'none'/);
    assert.equal(await page.getByLabel("User name").inputValue(), localpart);
    assert.equal(await page.evaluate(() => document.activeElement.id), "password");
    await page.goto(app.url());
    assert.equal(await page.evaluate(() => document.activeElement.id), "username");
    await look("sign-in");
    await signIn(page, "wrong");
    assert.match(await page.getByRole("alert").innerText(), /do not match/);
    assert.equal(await page.getByLabel("User name").inputValue(), localpart);
    assert.equal(await page.getByLabel("Password").inputValue(), "");
    await look("sign-in-wrong");
});

await step("AUZ-11: prompt=create says that there is no registration", async () => {
    await page.goto(app.url({ prompt: "create" }));
    await look("sign-in-create");
});

await step("AUZ-22: consent names the program, the way back, the person and the device", async () => {
    await page.goto(app.url({ scope: matrixScope("THEDEVICE1") }));
    await signIn();
    const text = await page.locator("main").innerText();
    for (const expected of ["Element", `127.0.0.1:${site.port}`, userId, "THEDEVICE1"]) assert.ok(text.includes(expected), `${expected} in ${text}`);
    await look("consent");
});

const tokens = await step("AUZ-24: allow, go back, and there is no second code", async () => {
    await press("Allow");
    const first = await site.visit((v) => v.url.startsWith("/callback"));
    const code = new URL(first.url, "http://x").searchParams.get("code");
    await page.goBack();
    await look("answered");
    await press(/Go back to .*Element/);
    const second = await site.visit((v) => v.url.startsWith("/callback"));
    assert.equal(new URL(second.url, "http://x").searchParams.get("code"), code);
    const answer = await app.redeem(code);
    assert.equal(answer.status, 200);
    await page.goBack();
    assert.match(await heading(), /answered already/);
    assert.equal(await page.getByRole("button").count(), 0);
    await look("done");
    await page.reload();
    assert.match(await heading(), /answered already/);
    return answer.json();
});

await step("AUZ-22: the session that a new one takes the device of is named", async () => {
    const other = await Client.register(base, "http://127.0.0.1/callback", { port: site.port, client_name: "Something else" });
    await page.goto(other.url({ scope: `${matrixScope("THEDEVICE1")} profile email` }));
    assert.match(await page.locator("main").innerText(), /ends the session on device THEDEVICE1 of a program that calls itself Element/);
    await look("consent-takes-device");
    await press("Cancel");
    const { url } = await site.visit((v) => v.url.startsWith("/callback"));
    assert.match(url, /error=access_denied/);
    assert.doesNotMatch(url, /code=/);
    await page.goBack();
    await look("denied");
});

await step("AUZ-22: long names fit", async () => {
    const label = "a".repeat(63);
    const uri = `https://${label}.${label}.${label}.example.com/`;
    const long = await Client.register(base, `${uri}callback`, { client_name: "W".repeat(100), client_uri: uri, policy_uri: undefined });
    await page.goto(long.url({ scope: matrixScope("D".repeat(200)) }));
    await look("consent-long");
});

await step("AUZ-05: the page that posts the answer, when its script does not come", async () => {
    await page.route("**/assets/continue.*", (route) => route.abort());
    await page.goto(app.url({ response_mode: "form_post" }));
    await press("Allow");
    await look("form-post");
    await press(/Continue to/);
    await site.visit((v) => v.method === "POST");
    await page.unroute("**/assets/continue.*");
});

await step("AUZ-12: prompt=login asks for the password again", async () => {
    await page.goto(app.url({ prompt: "login" }));
    assert.equal(await page.getByLabel("User name").count(), 0);
    await look("still-you");
});

await step("AUZ-17: another browser gets a page, never a code", async () => {
    await page.goto(app.url());
    const stranger = await newBrowser(chromium);
    await stranger.goto(page.url());
    await look("no-cookie", stranger); // It knows nothing of us yet: whether it keeps cookies, nobody can tell.
    await stranger.goto(`${base}/login`);
    await stranger.goto(page.url());
    await look("other-browser", stranger);
    await stranger.context().close();
});

await step("DEV-07, DEV-10: a device is linked by its code, in any spelling, and not by accident", async () => {
    const begun = await app.startDevice(matrixScope("LINKED0001"));
    await page.goto(begun.verification_uri);
    await look("link");
    await page.getByLabel("Code").fill("BCDF-BCDF");
    await press("Next");
    await look("link-wrong");
    await page.getByLabel("Code").fill(begun.user_code.toLowerCase().replace("-", " . "));
    await press("Next");
    assert.ok((await page.locator("main").innerText()).includes(begun.user_code));
    await look("device");
    await press("Sign that device in");
    assert.match(await page.getByRole("alert").innerText(), /./);
    await look("device-unticked");
    assert.equal((await (await app.pollDevice(begun.device_code)).json()).error, "authorization_pending");
    await page.getByRole("checkbox").check();
    await press("Sign that device in");
    await look("device-done");
    const denied = await app.startDevice();
    await page.goto(denied.verification_uri_complete);
    assert.equal((await (await app.pollDevice(denied.device_code)).json()).error, "authorization_pending"); // A link alone does nothing.
    await press("Next");
    await press("Do not sign it in");
    await look("device-denied");
    // The tokens of the first one, once the interval is over.
    await new Promise((resolve) => setTimeout(resolve, begun.interval * 1000));
    assert.equal((await app.pollDevice(begun.device_code)).status, 200);
});

await step("ACC-02, ACC-04, ACC-05: the account page lists, shows and ends sessions, and only when told so", async () => {
    await page.goto(`${base}/account/?action=org.matrix.something&id_token_hint=${"x".repeat(1200)}`);
    assert.match(await page.locator("main").innerText(), /Element/);
    await look("account");
    await page.goto(`${base}/account/?action=org.matrix.device_view&device_id=THEDEVICE1`);
    assert.match(await page.locator("main").innerText(), /THEDEVICE1/);
    await look("session");
    await page.goto(`${base}/account/?action=org.matrix.device_view&device_id=NOSUCHDEVICE`);
    await look("account-gone");
    await page.goto(`${base}/account/?action=org.matrix.session_end&device_id=LINKED0001`);
    await look("session-end");
    await press("End session");
    await look("account-ended");
    assert.doesNotMatch(await page.locator("main").innerText(), /LINKED0001/);
    const other = await newBrowser(chromium);
    await other.goto(`${base}/login`);
    await signIn(other);
    await page.goto(`${base}/account/`);
    await arrive(page, () => page.getByRole("link", { name: "End all other sessions…" }).click());
    assert.match(await page.locator("main").innerText(), /These pages/);
    await look("end-others");
    await press("End all other sessions");
    assert.equal(await page.getByRole("link", { name: "End all other sessions…" }).count(), 0);
    await other.reload();
    assert.equal(new URL(other.url()).pathname, "/login");
    await other.context().close();
    await page.goto(`${base}/account/end-others`);
    assert.equal(await page.getByRole("button").count(), 0);
    await look("end-others-none");
    const alive = await fetch(`${base}/_matrix/client/v3/account/whoami`, { headers: { authorization: `Bearer ${tokens.access_token}` } });
    assert.equal(alive.status, 200);
});

await step("ACC-08: the encryption identity may be reset, with the password", async () => {
    await page.goto(`${base}/account/?action=org.matrix.cross_signing_reset`);
    await look("reset");
    await page.getByLabel("Password").fill("wrong");
    await press("Allow the reset");
    await look("reset-wrong");
    await page.getByLabel("Password").fill(PASSWORD);
    await press("Allow the reset");
    assert.match(await page.locator("main").innerText(), /10 minutes|ten minutes/);
    await look("reset-done");
});

await step("sign out", async () => {
    await page.goto(`${base}/logout`);
    await look("sign-out");
    await press("Sign out");
    await look("signed-out");
    await page.goto(`${base}/account/?action=org.matrix.device_view&device_id=THEDEVICE1`);
    assert.equal(new URL(page.url()).pathname, "/login");
});

await step("ACC-07: what was asked for survives the sign-in", async () => {
    await signIn();
    assert.match(await page.locator("main").innerText(), /THEDEVICE1/);
});

await step("pages in German, chosen by ui_locales and by the browser", async () => {
    await page.goto(app.url({ ui_locales: "de", prompt: "login" }));
    assert.equal(await page.locator("html").getAttribute("lang"), "de");
    await look("german");
    const german = await newBrowser(chromium, { locale: "de-AT" });
    await german.goto(app.url());
    assert.equal(await german.locator("html").getAttribute("lang"), "de");
    await german.context().close();
});

await step("pages are light: 30 kB each, 10 kB of style, nothing from elsewhere", async () => {
    const fresh = await newBrowser(chromium);
    const sizes = [];
    fresh.on("response", (r) => r.status() === 200 && sizes.push([r.url(), r.body()]));
    await fresh.goto(app.url(), { waitUntil: "networkidle" });
    assert.ok(sizes.length >= 2);
    for (const [url, body] of sizes) {
        const size = (await body).length;
        assert.ok(url.startsWith(`${base}/`), url);
        assert.ok(size <= (url.endsWith(".css") ? 10_000 : 30_000), `${url}: ${size}`);
    }
    await fresh.context().close();
});

process.stdout.write(`looked at ${inspector.seen.length} pages\n`);
await chromium.close();
site.close();
process.exit(0);
