// An app wakes up with an expired token and asks for everything at once, in matrix-js-sdk 43, which refreshes by itself:
// expiry.mjs HOMESERVER USER_ID LOCALPART, with the password in PASSWORD.
import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { responseOf, step } from "./lib/run.mjs";
import { load, webClient } from "./lib/sdk.mjs";
import { Person } from "./lib/person.mjs";

const [baseUrl, userId, localpart] = process.argv.slice(2);
const sdk = await load("js43", baseUrl);
const person = new Person(localpart, process.env.PASSWORD);

const tokens = await step("sign in", async () => {
    await sdk.discover();
    await sdk.register(webClient);
    const location = await person.authorize(await sdk.authorizationUrl("fragment", "state"));
    return sdk.complete(responseOf(location, webClient.redirect_uris[0], "fragment"));
});

await step("ERR-03, REF-07: two tabs with 40 calls each at the moment of expiry, and all are answered", async () => {
    await sleep((tokens.expires_in + 1) * 1000);
    const tab = () => {
        const { clientId, deviceId } = sdk.auth.context;
        return sdk.client(tokens.access_token, { userId, deviceId, refreshToken: tokens.refresh_token, oauthClientId: clientId });
    };
    const calls = [tab(), tab()].flatMap((t) => Array.from({ length: 40 }, (_, i) => (i % 2 ? t.whoami() : t.getJoinedRooms())));
    const failed = (await Promise.allSettled(calls)).filter((c) => c.status === "rejected");
    assert.deepEqual(failed.map((f) => String(f.reason)), []);
});

process.exit(0);
