// The life of an OAuth session in matrix-js-sdk, which Element Web is built on:
// native.mjs js41|js42|js43 HOMESERVER USER_ID LOCALPART, with the password in PASSWORD.
// Prints a line for each step, and ends with status 1 at the first one that fails.
import assert from "node:assert/strict";
import { LossyNetwork, responseOf, step } from "./lib/run.mjs";
import { load, nativeClient, webClient } from "./lib/sdk.mjs";
import { Person } from "./lib/person.mjs";

const [version, baseUrl, userId, localpart] = process.argv.slice(2);
const network = new LossyNetwork();
const sdk = await load(version, baseUrl);
const person = new Person(localpart, process.env.PASSWORD);
const isToken = (url) => url.endsWith("/oauth2/token");
const isHardLogout = (err) => err.httpStatus === 401 && err.errcode === "M_UNKNOWN_TOKEN" && !err.data.soft_logout;

/** From the registration to tokens, by way of our pages. */
async function signIn(asked, mode, decision = "allow") {
    await sdk.register(asked);
    const url = await sdk.authorizationUrl(mode, "a state / with? what=ever&");
    return responseOf(await person.authorize(url, decision), asked.redirect_uris[0], mode);
}

await step("DSC-01, DSC-04: getAuthMetadata finds the provider", () => sdk.discover());

const tokens = await step("REG-01, AUZ-05, E5: sign in as a web client, by query", async () => {
    const params = await signIn(webClient, "query");
    assert.equal(params.get("no_universal_links"), "true");
    const t = await sdk.complete(params);
    assert.equal(t.token_type, "Bearer");
    assert.ok(t.refresh_token, "a refresh token without offline_access");
    assert.ok(t.expires_in > 30 && t.expires_in <= 3600, `expires_in ${t.expires_in}`);
    return { access: t.access_token, refresh: t.refresh_token };
});

const device = await step("TOK-10: whoami knows the device at once", async () => {
    const me = await sdk.whoami(tokens.access);
    assert.equal(me.user_id, userId);
    assert.ok(me.device_id);
    return me.device_id;
});

const refresh = sdk.tab();
let now = await step("REF-02, REF-07, E4: refresh, and the access token before it lives on", async () => {
    const t = await refresh(tokens.refresh);
    assert.notEqual(t.access, tokens.access);
    assert.notEqual(t.refresh, tokens.refresh);
    assert.ok(t.expiresIn > 30, `expires_in ${t.expiresIn}`);
    assert.equal((await sdk.whoami(t.access)).device_id, device);
    assert.equal((await sdk.whoami(tokens.access)).device_id, device);
    return t;
});

now = await step("REF-03, E2: the answer of a refresh is lost, once and then three times", async () => {
    let t = now;
    for (const times of [1, 3]) {
        const old = t.refresh;
        for (let i = 0; i < times; i++) await network.during(isToken, () => refresh(old));
        t = await refresh(old);
        assert.equal((await sdk.whoami(t.access)).device_id, device);
    }
    return t;
});

now = await step("REF-06, E3: two tabs refresh at the same moment, ten times", async () => {
    let t = now;
    for (let i = 0; i < 10; i++) {
        const [one, two] = await Promise.all([sdk.tab()(t.refresh), sdk.tab()(t.refresh)]);
        assert.equal(one.refresh, two.refresh, "both have the same pair");
        await Promise.all([sdk.whoami(one.access), sdk.whoami(two.access), sdk.whoami(t.access)]);
        t = i % 2 ? one : two;
    }
    return t;
});

await step("REV-07, REV-10: revoke both tokens in parallel, and the session is over at once", async () => {
    await Promise.all([sdk.revoke(now.access, "access_token"), sdk.revoke(now.refresh, "refresh_token")]);
    await assert.rejects(sdk.whoami(now.access), isHardLogout);
    await assert.rejects(sdk.tab()(now.refresh), (err) => sdk.isOver(err));
    await sdk.revoke(now.access, "access_token");
});

await step("AUZ-16, AUZ-06: cancel is access_denied, in the fragment", async () => {
    const params = await signIn(nativeClient, "fragment", "cancel");
    assert.equal(params.get("error"), "access_denied");
    assert.equal(params.get("code"), null);
    assert.ok(params.get("state"));
});

await step("REV-02, E13: sign in as an app with a scheme of its own, revoke the refresh token alone, and all is over", async () => {
    const t = await sdk.complete(await signIn(nativeClient, "fragment"));
    const me = await sdk.whoami(t.access_token);
    assert.notEqual(me.device_id, device);
    await sdk.revoke(t.refresh_token, "refresh_token");
    await assert.rejects(sdk.whoami(t.access_token), isHardLogout);
});

process.exit(0);
