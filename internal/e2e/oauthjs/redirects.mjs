// The ways back to a client in Chromium, with scripts and without: redirects.mjs HOMESERVER USER_ID LOCALPART,
// with PASSWORD and CHROMIUM.
import assert from "node:assert/strict";
import { arrive, launch, newBrowser } from "./lib/chromium.mjs";
import { Client } from "./lib/client.mjs";
import { step } from "./lib/run.mjs";
import { Site } from "./lib/site.mjs";

const [base, , localpart] = process.argv.slice(2);
const { PASSWORD } = process.env;
const chromium = await launch();
const allow = (page) => page.getByRole("button", { name: "Allow", exact: true });
const paramsOf = (visit) => new URL(visit.url, "http://x").searchParams;
const isAnswer = (v) => /[?&](code|error)=/.test(v.url);

/** Opens an authorization request in a browser where nobody is signed in yet, and goes as far as the consent page. */
async function toConsent(page, url) {
    await page.goto(url);
    await page.getByLabel("User name").fill(localpart);
    await page.getByLabel("Password").fill(PASSWORD);
    await arrive(page, () => page.keyboard.press("Enter"));
    await allow(page).waitFor();
}

/** Each case with scripts and without; without, on a phone. */
async function both(name, run) {
    for (const javaScriptEnabled of [true, false]) {
        await step(`${name}, ${javaScriptEnabled ? "with" : "without"} scripts`, async () => {
            const page = await newBrowser(chromium, { javaScriptEnabled, viewport: javaScriptEnabled ? undefined : { width: 360, height: 740 } });
            await run(page, javaScriptEnabled);
            assert.deepEqual(page.complaints, []);
            await page.context().close();
        });
    }
}

async function redeems(app, params) {
    assert.equal(params.get("state"), "a state");
    assert.equal(params.get("iss"), `${base}/`);
    const answer = await app.redeem(params.get("code"));
    assert.equal(answer.status, 200, await answer.text());
}

await both("AUZ-23: a client that sends the browser on to another host", async (page) => {
    const home = await Site.listen("127.0.0.2");
    const site = await Site.listen("127.0.0.1", (v) => (isAnswer(v) ? `http://127.0.0.2:${home.port}/home` : undefined));
    const app = await Client.register(base, "http://127.0.0.1/callback", { port: site.port });
    await toConsent(page, app.url());
    await allow(page).click();
    await home.visit((v) => v.url === "/home");
    await redeems(app, paramsOf(await site.visit(isAnswer)));
    [home, site].forEach((s) => s.close());
});

await both("E13: a client on [::1]", async (page) => {
    const site = await Site.listen("::1");
    const app = await Client.register(base, "http://[::1]/callback", { port: site.port });
    await toConsent(page, app.url());
    await allow(page).click();
    await redeems(app, paramsOf(await site.visit(isAnswer)));
    site.close();
});

await both("E13, AUZ-23: an app with a scheme of its own, which the browser does not know: the answer can be had again", async (page) => {
    const app = await Client.register(base, "com.example.app:/Callback?a=%2F");
    await toConsent(page, app.url());
    const answerTo = async (tab, button) => {
        const answer = tab.waitForResponse((r) => r.request().method() === "POST" && r.url() === tab.url());
        await button.click();
        return (await answer).headers().location;
    };
    const one = await answerTo(page, allow(page));
    const tab = await page.context().newPage(); // The browser's question whether to open the app covers the first one.
    await tab.goto(page.url());
    const two = await answerTo(tab, tab.getByRole("button", { name: /Go back to/ }));
    assert.equal(one, two);
    assert.ok(one.startsWith("com.example.app:/Callback?a=%2F&code="), one);
    await redeems(app, new URL(one).searchParams);
});

await both("AUZ-24: a double click on Allow", async (page) => {
    const site = await Site.listen("127.0.0.1");
    const app = await Client.register(base, "http://127.0.0.1/callback", { port: site.port });
    for (let i = 0; i < 5; i++) {
        if (i === 0) await toConsent(page, app.url());
        else await page.goto(app.url());
        await allow(page).dblclick({ noWaitAfter: true });
        const back = () => page.waitForURL(/callback/);
        await back().catch(back); // The second click may take the place of the first one's navigation.
        await redeems(app, new URL(page.url()).searchParams); // What the browser ended with is what the client has.
        const codes = new Set(site.visits.splice(0).filter(isAnswer).map((v) => paramsOf(v).get("code")));
        assert.equal(codes.size, 1);
    }
    site.close();
});

await both("AUZ-05: the answer by form_post", async (page, scripts) => {
    const site = await Site.listen("127.0.0.1");
    const app = await Client.register(base, "http://127.0.0.1/callback", { port: site.port });
    await toConsent(page, app.url({ response_mode: "form_post", state: `"'<&>é` }));
    await allow(page).click();
    if (!scripts) await page.getByRole("button", { name: /Continue to/ }).click();
    const visit = await site.visit((v) => v.method === "POST");
    assert.equal(visit.url, "/callback");
    assert.equal(visit.headers.cookie, undefined);
    const params = new URLSearchParams(visit.body);
    assert.equal(params.get("state"), `"'<&>é`);
    params.set("state", "a state");
    await redeems(app, params);
    site.close();
});

await both("AUZ-16: cancel on the sign-in page and on the consent page", async (page) => {
    const site = await Site.listen("127.0.0.1");
    const app = await Client.register(base, "http://127.0.0.1/callback", { port: site.port });
    for (const go of [(url) => page.goto(url), (url) => toConsent(page, url)]) {
        await go(app.url({ response_mode: "query" }));
        await page.getByRole("button", { name: "Cancel", exact: true }).click();
        const params = paramsOf(await site.visit(isAnswer));
        assert.equal(params.get("error"), "access_denied");
        assert.equal(params.get("state"), "a state");
    }
    site.close();
});

await both("AUZ-01: an authorization request by POST from another site", async (page) => {
    const redirect = await Site.listen("127.0.0.1");
    const app = await Client.register(base, "http://127.0.0.1/callback", { port: redirect.port });
    const url = new URL(app.url());
    const escape = (s) => s.replace(/[&"<]/g, (c) => `&#${c.charCodeAt(0)};`);
    const fields = [...url.searchParams].map(([name, value]) => `<input type=hidden name="${escape(name)}" value="${escape(value)}">`).join("");
    const start = await Site.listen("127.0.0.2", undefined, `<!doctype html><form method=post action="${base}/authorize">${fields}<button>Start</button></form>`);
    await page.goto(`http://127.0.0.2:${start.port}/`);
    await arrive(page, () => page.getByRole("button").click());
    await toConsent(page, page.url());
    await allow(page).click();
    await redeems(app, paramsOf(await redirect.visit(isAnswer)));
    [redirect, start].forEach((s) => s.close());
});

await step("AUZ-21: no other site can show our pages inside of its own", async () => {
    const page = await newBrowser(chromium);
    const app = await Client.register(base, "http://127.0.0.1/callback", { port: 1 });
    const site = await Site.listen("127.0.0.1", undefined, () => `<!doctype html><iframe src="${app.url().replaceAll("&", "&amp;")}"></iframe>`);
    await page.goto(`http://127.0.0.1:${site.port}/`, { waitUntil: "networkidle" });
    assert.equal(await page.frameLocator("iframe").getByLabel("Password").count(), 0);
    assert.match(page.complaints.join(), /frame-ancestors/);
    site.close();
});

await step("a form that another site sends in the person's name changes nothing", async () => {
    const page = await newBrowser(chromium);
    const app = await Client.register(base, "http://127.0.0.1/callback", { port: 1 });
    await toConsent(page, app.url());
    const proof = await page.locator("input[name=proof]").first().getAttribute("value");
    const forged = `<!doctype html><form method=post action="${page.url()}"><input name=proof value="${proof}"><button name=decision value=allow>Win</button></form>`;
    const site = await Site.listen("127.0.0.1", undefined, forged);
    await page.goto(`http://127.0.0.1:${site.port}/`);
    await arrive(page, () => page.getByRole("button").click());
    assert.equal(new URL(page.url()).origin, base);
    assert.doesNotMatch(page.url(), /code=/);
    assert.match(await page.locator("h1").innerText(), /do not recognise this browser/i);
    site.close();
});

await chromium.close();
process.exit(0);
