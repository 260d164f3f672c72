// Another strict standard client, openid-client, as applications use it:
// openid-client.mjs HOMESERVER USER_ID LOCALPART, with PASSWORD, and with MONITOR_SECRET of a client of the configuration.
import assert from "node:assert/strict";
import * as client from "openid-client";
import { step } from "./lib/run.mjs";
import { Person } from "./lib/person.mjs";

const [base, , localpart] = process.argv.slice(2);
const issuer = `${base}/`;
const { PASSWORD, MONITOR_SECRET } = process.env;
const person = new Person(localpart, PASSWORD);
const redirectUri = "https://site.example.com/callback";

const config = await step("REG-01: registers with a secret of its own", async () => {
    const made = await client.dynamicClientRegistration(new URL(issuer), {
        client_name: "Wiki",
        client_uri: "https://site.example.com/",
        redirect_uris: [redirectUri],
        token_endpoint_auth_method: "client_secret_post",
    });
    client.enableNonRepudiationChecks(made); // Signatures, too.
    assert.equal(made.serverMetadata().issuer, issuer);
    return made;
});

/** Signs in; answer makes of what the browser is sent to what the application sees. */
async function signIn(more, answer) {
    const pkceCodeVerifier = client.randomPKCECodeVerifier();
    const [expectedState, expectedNonce] = [client.randomState(), client.randomNonce()];
    const url = client.buildAuthorizationUrl(config, {
        redirect_uri: redirectUri,
        scope: "openid profile",
        code_challenge: await client.calculatePKCECodeChallenge(pkceCodeVerifier),
        code_challenge_method: "S256",
        state: expectedState,
        nonce: expectedNonce,
        ...more,
    });
    return client.authorizationCodeGrant(config, await answer(url.href), { pkceCodeVerifier, expectedState, expectedNonce, idTokenExpected: true });
}

const byQuery = async (url) => new URL(await person.authorize(url));
const tokens = await step("TOK-07: code flow with an id token", () => signIn({}, byQuery));

await step("AUZ-01: userinfo tells who it is", async () => {
    const info = await client.fetchUserInfo(config, tokens.access_token, tokens.claims().sub);
    assert.equal(info.preferred_username, localpart);
});

await step("AUZ-05: the answer by form_post", async () => {
    const byForm = async (url) => {
        const page = await person.open(url); // Consent is remembered: the page that posts comes at once.
        const form = page.forms.find((f) => f.action === redirectUri);
        assert.ok(form, page.html);
        const body = new URLSearchParams(form.inputs.map((i) => [i.name, i.value]));
        return new Request(redirectUri, { method: "POST", body });
    };
    const again = await signIn({ response_mode: "form_post" }, byForm);
    assert.equal(again.claims().sub, tokens.claims().sub);
});

await step("AUZ-12: prompt=login asks for the password again, and auth_time says so", async () => {
    await new Promise((resolve) => setTimeout(resolve, 1100)); // auth_time is in seconds.
    const again = await signIn({ prompt: "login" }, byQuery);
    assert.ok(again.claims().auth_time > tokens.claims().auth_time);
});

await step("REF-02: refresh, and the refresh token changes", async () => {
    const fresh = await client.refreshTokenGrant(config, tokens.refresh_token);
    assert.ok(fresh.refresh_token && fresh.refresh_token !== tokens.refresh_token);
    await client.tokenRevocation(config, fresh.refresh_token);
    await assert.rejects(client.fetchUserInfo(config, fresh.access_token, client.skipSubjectCheck));
    await assert.rejects(client.refreshTokenGrant(config, fresh.refresh_token), (err) => err.error === "invalid_grant");
});

await step("INT-05: a client of the configuration introspects and has tokens of its own", async () => {
    const monitor = await client.discovery(new URL(issuer), "monitor", undefined, client.ClientSecretBasic(MONITOR_SECRET));
    const own = await client.clientCredentialsGrant(monitor);
    assert.equal((await client.tokenIntrospection(monitor, own.access_token)).active, true);
    assert.deepEqual(await client.tokenIntrospection(monitor, tokens.access_token), { active: false });
});
