// A second device signs in by a code that the first approves (RFC 8628), in matrix-js-sdk 43:
// device.mjs HOMESERVER USER_ID LOCALPART, with the password in PASSWORD.
import assert from "node:assert/strict";
import { step } from "./lib/run.mjs";
import { load, nativeClient } from "./lib/sdk.mjs";
import { Person } from "./lib/person.mjs";

const [baseUrl, userId, localpart] = process.argv.slice(2);
const sdk = await load("js43", baseUrl);
const person = new Person(localpart, process.env.PASSWORD);
const asked = { ...nativeClient, grant_types: ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"] };

const begin = async () => {
    const auth = new sdk.sdk.OAuth2(sdk.metadata, { clientId: sdk.clientId });
    return { auth, session: await auth.startDeviceAuthorizationGrant() };
};

await step("DSC-11: the provider has the device grant", async () => {
    await sdk.discover();
    assert.ok(sdk.metadata.device_authorization_endpoint);
    await sdk.register(asked);
});

await step("DEV-01, DEV-08, DEV-12, DEV-15: approve by the link, sign-in included, and the device is there", async () => {
    const { auth, session } = await begin();
    assert.ok(session.verification_uri_complete.startsWith(session.verification_uri));
    const page = await person.approveDevice(session.verification_uri_complete);
    assert.equal(page.status, 200);
    const t = await auth.waitForDeviceAuthorizationGrant(session);
    assert.ok(t.access_token && t.refresh_token, JSON.stringify(Object.keys(t)));
    const me = await sdk.whoami(t.access_token);
    assert.equal(me.user_id, userId);
    assert.equal(me.device_id, auth.context.deviceId);
    const again = await auth.performRefreshTokenGrant(t.refresh_token);
    await sdk.whoami(again.access_token);
    await Promise.all([auth.revokeToken(again.access_token, "access_token"), auth.revokeToken(again.refresh_token, "refresh_token")]);
    await assert.rejects(sdk.whoami(again.access_token), (err) => err.errcode === "M_UNKNOWN_TOKEN");
});

await step("DEV-03, E19: polls are told to wait until the person says no", async () => {
    const { auth, session } = await begin();
    const answer = auth.waitForDeviceAuthorizationGrant(session); // Its first poll comes before the decision.
    await person.approveDevice(session.verification_uri_complete, "cancel");
    assert.deepEqual(await answer.then((a) => a.error), "access_denied");
});

process.exit(0);
