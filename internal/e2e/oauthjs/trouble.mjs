// What people see when they cannot go on, in Chromium:
// trouble.mjs locked|full|down|limited HOMESERVER LOCALPART SCREENSHOTS [MORE], with PASSWORD and CHROMIUM. The first is of a user who
// is locked, the second moves the data directory MORE away and back, the third is without Synapse until it asks MORE for it, the
// fourth with few tries.
import assert from "node:assert/strict";
import { renameSync } from "node:fs";
import { arrive, Inspector, launch, newBrowser } from "./lib/chromium.mjs";
import { Client } from "./lib/client.mjs";
import { step } from "./lib/run.mjs";
import { Site } from "./lib/site.mjs";

const [what, base, localpart, directory, more] = process.argv.slice(2);
const { PASSWORD } = process.env;
const chromium = await launch();
const inspector = new Inspector(directory);
const page = await newBrowser(chromium);
const look = (name) => inspector.look(page, name);
const press = (name) => arrive(page, () => page.getByRole("button", { name, exact: true }).click());
const main = () => page.locator("main").innerText();

/** Does what a form or a link does, and returns the status of the page that comes. */
async function statusOf(run) {
    const [answer] = await Promise.all([page.waitForResponse((r) => r.request().isNavigationRequest()), run()]);
    return answer.status();
}

/** An app on this machine, which a sign-in ends at. */
async function newApp() {
    const site = await Site.listen("127.0.0.1");
    const app = await Client.register(base, "http://127.0.0.1/callback", { port: site.port });
    const code = async () => new URL((await site.visit((v) => v.url.startsWith("/callback"))).url, "http://x").searchParams.get("code");
    return { app, code };
}
const alert = () => page.getByRole("alert").innerText();

async function signIn(password = PASSWORD) {
    await page.getByLabel("User name").fill(localpart);
    await page.getByLabel("Password").fill(password);
    await press("Sign in");
}

async function reset(password = PASSWORD) {
    await page.getByLabel("Password").fill(password);
    await press("Allow the reset");
}

const steps = {
    async locked() {
        await step("a user who is locked is told so, and whom to ask", async () => {
            await page.goto(`${base}/login`);
            await signIn("wrong");
            assert.match(await alert(), /do not match/); // Only who knows the password is told.
            await signIn();
            assert.match(await alert(), /is locked\. Ask the people who run/);
            assert.equal(await page.getByLabel("Password").inputValue(), "");
            await look("sign-in-locked");
            await page.goto(`${base}/login?ui_locales=de`);
            await page.getByLabel("Benutzername").fill(localpart);
            await page.getByLabel("Passwort").fill(PASSWORD);
            await press("Anmelden");
            await look("sign-in-locked-german");
        });
    },

    async full() {
        const { app, code } = await newApp();
        const without = async (run) => {
            renameSync(more, `${more}.away`);
            try {
                await run();
            } finally {
                renameSync(`${more}.away`, more);
            }
        };
        const again = () => arrive(page, () => page.getByRole("link", { name: "Try again" }).click());
        await step("a request that cannot be kept is made again from the page that says so", async () => {
            await without(async () => {
                assert.equal((await page.goto(app.url())).status(), 503);
                assert.match(await main(), /The fault is on our side.*Try again in a moment/);
            });
            await again();
        });
        await step("a sign-in that cannot be kept is made again with nothing but the password", async () => {
            await without(async () => {
                assert.equal(await statusOf(() => signIn()), 503);
                assert.match(await alert(), /Nothing is wrong with what you typed: try again in a moment/);
                assert.equal(await page.getByLabel("User name").inputValue(), localpart);
                await look("sign-in-not-kept");
            });
            await page.getByLabel("Password").fill(PASSWORD);
            await press("Sign in");
        });
        await step("a yes that cannot be kept is said again, by who is still signed in", async () => {
            await without(async () => {
                assert.equal(await statusOf(() => press("Allow")), 503);
                assert.match(await main(), /The fault is on our side.*Try again in a moment/);
                assert.match(await main(), /Reference/);
                await look("unavailable");
            });
            await again();
            await press("Allow");
            assert.equal((await app.redeem(await code())).status, 200);
        });
    },

    async down() {
        await step("ACC-08: without Synapse nothing is reset, and the page says so", async () => {
            await page.goto(`${base}/account/reset`);
            await signIn();
            assert.equal(await statusOf(() => reset()), 503);
            assert.match(await alert(), /did not answer just now, and it is not known whether/);
            await look("reset-unavailable");
        });
        const { app, code } = await newApp();
        const given = await step("without Synapse people say yes all the same, and the app is told to wait", async () => {
            await page.goto(app.url());
            await press("Allow");
            const given = await code();
            const answer = await app.redeem(given);
            assert.equal(answer.status, 503);
            assert.ok(Number(answer.headers.get("retry-after")) > 0);
            return given;
        });
        await step("with Synapse again the app gets its tokens, and the reset needs nothing but the password", async () => {
            await page.goto(`${base}/account/reset`);
            assert.equal((await fetch(more)).status, 200);
            assert.equal((await app.redeem(given)).status, 200);
            assert.equal(await statusOf(() => reset()), 200);
            assert.match(await main(), /You can reset your identity now/);
        });
    },

    async limited() {
        await step("RAT-04: who has tried too often is told when to come back", async () => {
            await page.goto(`${base}/account/reset`);
            await signIn();
            for (let i = 0; i < 4; i++) await reset("wrong");
            assert.match(await alert(), /too many tries\. Try again in/);
            await look("reset-limited");
            await page.goto(`${base}/login?other=1`);
            await signIn();
            assert.match(await alert(), /too many tries\. Try again in/);
            await look("sign-in-limited");
        });
        await step("DEV-07: so is who has guessed codes", async () => {
            await page.goto(`${base}/link`);
            for (let i = 0; i < 11; i++) {
                await page.getByLabel("Code").fill("BCDF-BCDF");
                await press("Next");
            }
            assert.match(await alert(), /too many codes\. Try again in/);
            await look("link-limited");
        });
        await step("and so is who is sent here by an app too often", async () => {
            const app = await Client.register(base, "https://app.example.com/callback");
            let status;
            for (let i = 0; i < 5; i++) status = (await page.goto(app.url())).status();
            assert.equal(status, 429);
            assert.match(await page.locator("main").innerText(), /Try again in/);
            await look("too-many-requests");
            await arrive(page, () => page.getByRole("link", { name: "Try again" }).click());
            assert.match(await page.locator("main").innerText(), /Too many requests/);
            assert.equal(new URL(page.url()).searchParams.get("client_id"), app.id);
        });
    },
};

await steps[what]();
process.stdout.write(`looked at ${inspector.seen.length} pages\n`);
await chromium.close();
process.exit(0);
