// The life of a session in matrix-js-sdk: flow.mjs HOMESERVER USER_ID LOCALPART, with the password in PASSWORD.
// Prints a line for each step, and ends with status 1 at the first one that fails.
import assert from "node:assert/strict";

// The one thing of Node 22 that the SDK uses and Node 20 has not.
Promise.withResolvers ??= () => {
    const made = {};
    made.promise = new Promise((resolve, reject) => Object.assign(made, { resolve, reject }));
    return made;
};
// The SDK tells every request; what counts is said by the steps.
for (const level of ["debug", "info", "log", "warn", "error"]) console[level] = () => {};
const sdk = await import("matrix-js-sdk");

const [baseUrl, userId, user] = process.argv.slice(2);
const password = process.env.PASSWORD;

const step = async (name, run) => {
    const result = await run();
    process.stdout.write(`ok ${name}\n`);
    return result;
};

const anonymous = sdk.createClient({ baseUrl });

await step("getAuthMetadata finds the provider", async () => {
    const { issuer } = await anonymous.getAuthMetadata();
    assert.equal(issuer, `${baseUrl}/`);
});

await step("loginFlows", async () => {
    const { flows } = await anonymous.loginFlows();
    assert.deepEqual(flows.map((f) => f.type), ["m.login.password"]);
});

const login = await step("loginRequest", async () => {
    const answer = await anonymous.loginRequest({
        type: "m.login.password",
        identifier: { type: "m.id.user", user },
        password,
        refresh_token: true,
        initial_device_display_name: "js",
    });
    assert.equal(answer.user_id, userId);
    assert.ok(answer.device_id && answer.access_token && answer.refresh_token);
    assert.ok(Number.isInteger(answer.expires_in_ms) && answer.expires_in_ms > 0);
    return answer;
});

const client = sdk.createClient({ baseUrl, userId, deviceId: login.device_id, accessToken: login.access_token });

await step("whoami", async () => {
    const me = await client.whoami();
    assert.equal(me.user_id, userId);
    assert.equal(me.device_id, login.device_id);
});

await step("sync", async () => {
    const prepared = new Promise((resolve) => client.on(sdk.ClientEvent.Sync, (state) => state === "PREPARED" && resolve()));
    await client.startClient({ initialSyncLimit: 1 });
    await prepared;
});

await step("createRoom, sendTextMessage, and the message comes back", async () => {
    // The SDK shows a message at once; it has come back when nothing more is awaited for it.
    const seen = new Promise((resolve) => {
        const look = (event) => event.getContent().body === "hello" && !event.status && resolve();
        client.on(sdk.RoomEvent.Timeline, look);
        client.on(sdk.RoomEvent.LocalEchoUpdated, look);
    });
    const { room_id: room } = await client.createRoom({ preset: sdk.Preset.PrivateChat });
    await client.sendTextMessage(room, "hello");
    await seen;
});

await step("refreshToken", async () => {
    const fresh = await client.refreshToken(login.refresh_token);
    assert.ok(fresh.access_token && fresh.access_token !== login.access_token);
    assert.ok(fresh.refresh_token && fresh.refresh_token !== login.refresh_token);
    client.setAccessToken(fresh.access_token);
    assert.equal((await client.whoami()).device_id, login.device_id);
});

await step("logout, and the token is dead at once", async () => {
    const token = client.getAccessToken();
    await client.logout(true);
    const ghost = sdk.createClient({ baseUrl, userId, deviceId: login.device_id, accessToken: token });
    await assert.rejects(ghost.whoami(), (err) => err.httpStatus === 401 && err.errcode === "M_UNKNOWN_TOKEN" && !err.data.soft_logout);
});

await step("a client that refreshes by itself", async () => {
    const answer = await anonymous.loginRequest({
        type: "m.login.password",
        identifier: { type: "m.id.user", user },
        password,
        refresh_token: true,
    });
    const all = sdk.createClient({ baseUrl, userId, deviceId: answer.device_id, accessToken: answer.access_token });
    const { access_token: token } = await all.refreshToken(answer.refresh_token);
    await assert.doesNotReject(all.whoami(), "the previous access token lives on");
    all.setAccessToken(token);
    await all.http.authedRequest(sdk.Method.Post, "/logout/all");
    await assert.rejects(all.whoami(), (err) => err.errcode === "M_UNKNOWN_TOKEN");
});

process.exit(0);
