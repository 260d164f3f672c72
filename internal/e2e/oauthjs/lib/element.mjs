// What runs in the page of crossorigin.mjs: a small Element Web.
import { createClient, OAuth2 } from "js43";

const log = (line) => (document.getElementById("log").textContent += `${line}\n`);
const redirectUri = location.origin + location.pathname;
const expect = (ok, what) => {
    if (!ok) throw new Error(`expected ${what}`);
};

async function begin(base) {
    const metadata = await createClient({ baseUrl: base }).getAuthMetadata();
    const clientId = await OAuth2.registerClient(metadata, {
        client_name: "Element",
        client_uri: "https://app.example.com/",
        application_type: "native",
        redirect_uris: [redirectUri.replace(/:\d+\//, "/")],
    });
    const auth = new OAuth2(metadata, { clientId });
    sessionStorage.setItem("auth", JSON.stringify({ base, context: auth.context }));
    location.assign(await auth.generateAuthorizationCodeGrantUrl("state", redirectUri, "fragment"));
}

async function finish(params) {
    const { base, context } = JSON.parse(sessionStorage.getItem("auth"));
    const metadata = await createClient({ baseUrl: base }).getAuthMetadata();
    const auth = new OAuth2(metadata, context);
    const wrong = await auth.completeAuthorizationCodeGrant("nonsense", redirectUri).catch((err) => err);
    expect(wrong.error === "invalid_grant", `an error that a page may read, got ${wrong}`);
    const tokens = await auth.completeAuthorizationCodeGrant(params.get("code"), redirectUri);
    const whoami = (accessToken) => createClient({ baseUrl: base, accessToken }).whoami();
    const me = await whoami(tokens.access_token);
    log(`whoami ${me.user_id} ${me.device_id}`);
    expect(me.device_id === context.deviceId, "the device that was asked for");
    const fresh = await auth.performRefreshTokenGrant(tokens.refresh_token);
    await whoami(fresh.access_token);
    log("refreshed");
    await Promise.all([auth.revokeToken(fresh.access_token, "access_token"), auth.revokeToken(fresh.refresh_token, "refresh_token")]);
    const dead = await whoami(fresh.access_token).catch((err) => err);
    expect(dead.errcode === "M_UNKNOWN_TOKEN", `M_UNKNOWN_TOKEN that a page may read, got ${dead}`);
    for (const path of ["/.well-known/matrix/client", "/.well-known/openid-configuration", "/.well-known/oauth-authorization-server", "/oauth2/keys.json"])
        expect((await fetch(base + path)).ok, path);
    const refused = await fetch(`${base}/_matrix/client/v3/login`, { method: "POST", headers: { "content-type": "application/json" }, body: "{" });
    expect((await refused.json()).errcode === "M_NOT_JSON", "errors of the legacy API");
    log("finished");
}

const params = new URLSearchParams(location.hash.slice(1));
try {
    await (params.has("code") ? finish(params) : begin(params.get("base")));
} catch (err) {
    log(`failed: ${err.stack ?? err}`);
}
