// A strict standard client, oauth4webapi, which refuses what the specifications do not allow:
// oauth4webapi.mjs HOMESERVER USER_ID LOCALPART, with PASSWORD, and with MONITOR_SECRET and AGENT_KEY of two clients of the configuration.
import assert from "node:assert/strict";
import * as oauth from "oauth4webapi";
import { step } from "./lib/run.mjs";
import { Person } from "./lib/person.mjs";

const [base, , localpart] = process.argv.slice(2);
const issuer = `${base}/`;
const { PASSWORD, MONITOR_SECRET, AGENT_KEY } = process.env;
const person = new Person(localpart, PASSWORD);
const redirectUri = "https://site.example.com/callback?from=us";
const matrix = (device) => `urn:matrix:client:api:* urn:matrix:client:device:${device}`;

const as = await step("DSC-04, DSC-05: both discoveries give the same metadata", async () => {
    const found = [];
    for (const algorithm of ["oidc", "oauth2"]) {
        const answer = await oauth.discoveryRequest(new URL(issuer), { algorithm });
        found.push(await oauth.processDiscoveryResponse(new URL(issuer), answer));
    }
    assert.deepEqual(found[0], found[1]);
    return found[0];
});

const register = async (metadata) =>
    oauth.processDynamicClientRegistrationResponse(
        await oauth.dynamicClientRegistrationRequest(as, { client_name: "Site", client_uri: "https://site.example.com/", redirect_uris: [redirectUri], ...metadata }));

/** From an authorization request to tokens, with everything checked that the library can check. */
async function codeFlow(client, clientAuth, scope, more = {}, expected = {}) {
    const verifier = oauth.generateRandomCodeVerifier();
    const [state, nonce] = [oauth.generateRandomState(), oauth.generateRandomNonce()];
    const url = new URL(as.authorization_endpoint);
    for (const [name, value] of Object.entries({
        client_id: client.client_id,
        redirect_uri: redirectUri,
        response_type: "code",
        scope,
        state,
        nonce,
        code_challenge: await oauth.calculatePKCECodeChallenge(verifier),
        code_challenge_method: "S256",
        ...more,
    })) url.searchParams.set(name, value);
    const location = new URL(await person.authorize(url.href));
    assert.equal(location.searchParams.get("from"), "us");
    location.searchParams.delete("from");
    const params = oauth.validateAuthResponse(as, client, location, state);
    const exchange = () => oauth.authorizationCodeGrantRequest(as, client, clientAuth, params, redirectUri, verifier);
    const answer = await exchange();
    const openid = scope.split(" ").includes("openid");
    const tokens = await oauth.processAuthorizationCodeResponse(as, client, answer, {
        expectedNonce: openid ? nonce : undefined,
        requireIdToken: openid,
        ...expected,
    });
    if (openid) await oauth.validateApplicationLevelSignature(as, answer);
    return { tokens, claims: oauth.getValidatedIdTokenClaims(tokens), exchange };
}

const isError = (code, status) => (err) => {
    assert.ok(err instanceof oauth.ResponseBodyError, String(err));
    assert.equal(err.error, code);
    assert.equal(err.status, status);
    return true;
};

const none = oauth.None();
const client = await step("REG-01, REG-04: a client without a secret registers", async () => {
    const made = await register({ token_endpoint_auth_method: "none" });
    assert.equal(made.client_secret, undefined);
    assert.deepEqual(made.redirect_uris, [redirectUri]);
    return made;
});

const first = await step("TOK-07, AUZ-25: code flow with openid and a device: iss, nonce, at_hash, auth_time and the signature hold", async () => {
    const flow = await codeFlow(client, none, `openid profile ${matrix("STRICTDEVICE")}`, { max_age: "600" }, { maxAge: 600 });
    assert.equal(flow.tokens.scope, `openid profile ${matrix("STRICTDEVICE")}`);
    assert.equal(flow.tokens.token_type, "bearer"); // The library folds it.
    assert.ok(flow.claims.at_hash && flow.claims.auth_time && flow.claims.amr.includes("pwd"));
    assert.equal(flow.claims.acr, undefined);
    return flow;
});

await step("TOK-08, AUZ-17: the same code again is invalid_grant, and the session lives", async () => {
    await assert.rejects(async () => oauth.processAuthorizationCodeResponse(as, client, await first.exchange()), isError("invalid_grant", 400));
    const answer = await oauth.userInfoRequest(as, client, first.tokens.access_token);
    const info = await oauth.processUserInfoResponse(as, client, first.claims.sub, answer);
    assert.equal(info.preferred_username, localpart);
});

await step("REF-01, REF-14: refresh, with an id token that fits", async () => {
    const answer = await oauth.refreshTokenGrantRequest(as, client, none, first.tokens.refresh_token);
    const fresh = await oauth.processRefreshTokenResponse(as, client, answer);
    assert.ok(fresh.refresh_token && fresh.refresh_token !== first.tokens.refresh_token);
    assert.equal(fresh.scope, first.tokens.scope);
    first.tokens = { ...fresh };
});

await step("REF-12: a refresh may ask for less, and never for another device", async () => {
    const ask = (scope) => oauth.refreshTokenGrantRequest(as, client, none, first.tokens.refresh_token, { additionalParameters: { scope } });
    await assert.rejects(async () => oauth.processRefreshTokenResponse(as, client, await ask(matrix("ANOTHERDEVICE"))), isError("invalid_scope", 400));
    const fresh = await oauth.processRefreshTokenResponse(as, client, await ask(matrix("STRICTDEVICE")));
    assert.equal(fresh.scope, first.tokens.scope); // What it gets stays what was granted, and is said (RFC 6749 §3.3).
    first.tokens = { ...fresh };
});

await step("REF-11, REF-10: a refresh token of another client, and an unknown client", async () => {
    const other = await register({ token_endpoint_auth_method: "none", client_name: "Another" });
    const ask = async (c) => oauth.processRefreshTokenResponse(as, c, await oauth.refreshTokenGrantRequest(as, c, none, first.tokens.refresh_token));
    await assert.rejects(ask(other), isError("invalid_grant", 400));
    await assert.rejects(ask({ client_id: "nobody" }), isError("invalid_client", 401));
});

const monitor = { client_id: "monitor" };
const monitorAuth = oauth.ClientSecretBasic(MONITOR_SECRET);
const introspect = async (token, c = monitor, auth = monitorAuth) =>
    oauth.processIntrospectionResponse(as, c, await oauth.introspectionRequest(as, c, auth, token));

await step("INT-05: a client of the configuration introspects, a registered one does not", async () => {
    const active = await introspect(first.tokens.access_token);
    assert.equal(active.active, true);
    assert.equal(active.username, localpart);
    assert.deepEqual(await introspect("mat_something"), { active: false });
    await assert.rejects(introspect(first.tokens.access_token, client, none));
});

await step("REV-01, REV-02, REV-03: revoke, twice", async () => {
    for (let i = 0; i < 2; i++) {
        await oauth.processRevocationResponse(await oauth.revocationRequest(as, client, none, first.tokens.access_token));
    }
    assert.deepEqual(await introspect(first.tokens.access_token), { active: false });
});

await step("REG-01: a client with a secret, by default; ES256 as registered; acr as asked", async () => {
    const made = await register({ id_token_signed_response_alg: "ES256" });
    assert.equal(made.token_endpoint_auth_method, "client_secret_basic");
    assert.equal(made.client_secret_expires_at, 0);
    const auth = oauth.ClientSecretBasic(made.client_secret);
    const { claims } = await codeFlow(made, auth, "openid email", { acr_values: "0" });
    assert.equal(claims.acr, "0");
    // Consent for a site without a device is remembered: this time nobody is asked.
    const { claims: silently } = await codeFlow(made, auth, "openid email", { prompt: "none" });
    assert.equal(silently.sub, claims.sub);
    const wrong = oauth.ClientSecretBasic("wrong");
    await assert.rejects(codeFlow(made, wrong, "openid email"), (err) => err.status === 401 || err instanceof oauth.WWWAuthenticateChallengeError);
});

await step("INT-10: client credentials by secret and by key, without user, device or refresh token", async () => {
    const key = await crypto.subtle.importKey("jwk", JSON.parse(AGENT_KEY), { name: "ECDSA", namedCurve: "P-256" }, false, ["sign"]);
    const assertion = oauth.PrivateKeyJwt({ key, kid: "agent" });
    for (const [c, auth] of [[monitor, monitorAuth], [{ client_id: "agent" }, assertion]]) {
        const answer = await oauth.clientCredentialsGrantRequest(as, c, auth, {});
        const tokens = await oauth.processClientCredentialsResponse(as, c, answer);
        assert.equal(tokens.refresh_token, undefined);
        const found = await introspect(tokens.access_token);
        assert.equal(found.active, true);
        assert.equal(found.client_id, c.client_id);
        assert.equal(found.username, undefined);
        assert.equal(found.sub, undefined);
    }
});

await step("DEV-02, DEV-06, RAT-06: the device grant, slowed down, approved, and used once", async () => {
    const device = await register({ token_endpoint_auth_method: "none", grant_types: ["urn:ietf:params:oauth:grant-type:device_code"], redirect_uris: [], response_types: [] });
    const begun = await oauth.processDeviceAuthorizationResponse(
        as, device, await oauth.deviceAuthorizationRequest(as, device, none, { scope: matrix("STRICTLINKED") }));
    const poll = async () => oauth.processDeviceCodeResponse(as, device, await oauth.deviceCodeGrantRequest(as, device, none, begun.device_code));
    await assert.rejects(poll(), isError("authorization_pending", 400));
    await assert.rejects(poll(), isError("slow_down", 400));
    await person.approveDevice(begun.verification_uri_complete);
    await new Promise((resolve) => setTimeout(resolve, (begun.interval + 5.5) * 1000)); // RFC 8628 §3.5: 5 s more from now on.
    const tokens = await poll();
    assert.ok(tokens.refresh_token);
    await assert.rejects(poll(), isError("invalid_grant", 400));
});
