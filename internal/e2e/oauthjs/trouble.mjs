// What people see when they cannot go on, in Chromium:
// trouble.mjs locked|down|limited HOMESERVER LOCALPART SCREENSHOTS, with PASSWORD and CHROMIUM. The first is of a user who is locked,
// the second without Synapse, the third with few tries.
import assert from "node:assert/strict";
import { arrive, Inspector, launch, newBrowser } from "./lib/chromium.mjs";
import { Client } from "./lib/client.mjs";
import { step } from "./lib/run.mjs";

const [what, base, localpart, directory] = process.argv.slice(2);
const { PASSWORD } = process.env;
const chromium = await launch();
const inspector = new Inspector(directory);
const page = await newBrowser(chromium);
const look = (name) => inspector.look(page, name);
const press = (name) => arrive(page, () => page.getByRole("button", { name, exact: true }).click());
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

    async down() {
        await step("ACC-08: without Synapse nothing is reset, and the page says so", async () => {
            await page.goto(`${base}/account/reset`);
            await signIn();
            await reset();
            assert.match(await alert(), /did not answer just now, and it is not known whether/);
            await look("reset-unavailable");
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
