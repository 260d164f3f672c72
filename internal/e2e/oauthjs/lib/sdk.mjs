// matrix-js-sdk as Element Web and others drive it, in the versions that people have: one form for the three of them.
import assert from "node:assert/strict";
import { hush } from "./run.mjs";

const clientUri = "https://app.example.com/";

/** What Element Web registers: a web client with a query in its redirect. */
export const webClient = {
    client_name: "Element",
    client_uri: clientUri,
    logo_uri: `${clientUri}logo.png`,
    tos_uri: `${clientUri}terms`,
    policy_uri: `${clientUri}privacy`,
    application_type: "web",
    redirect_uris: [`${clientUri}?no_universal_links=true`],
    contacts: ["somebody@example.com"],
};

/** What an app registers: its own scheme, without an authority. */
export const nativeClient = {
    client_name: "An app",
    client_uri: clientUri,
    application_type: "native",
    redirect_uris: ["com.example.app:/callback"],
};

class Common {
    constructor(version, sdk, baseUrl) {
        Object.assign(this, { version, sdk, baseUrl });
    }

    client(accessToken, more = {}) {
        return this.sdk.createClient({ baseUrl: this.baseUrl, accessToken, ...more });
    }

    whoami(accessToken) {
        return this.client(accessToken).whoami();
    }
}

/** 42 and 43: the class OAuth2. */
class Stable extends Common {
    async discover() {
        this.metadata = await this.client().getAuthMetadata();
    }

    async register(asked) {
        this.asked = asked;
        this.clientId = await this.sdk.OAuth2.registerClient(this.metadata, asked);
    }

    async authorizationUrl(mode, state) {
        const [redirectUri] = this.asked.redirect_uris;
        this.auth = new this.sdk.OAuth2(this.metadata, { clientId: this.clientId, redirectUri }); // 42 wants it here, 43 below
        this.state = state;
        if (this.version === "js42") return this.auth.generateAuthorizationCodeGrantUrl(state, mode);
        return this.auth.generateAuthorizationCodeGrantUrl(state, redirectUri, mode);
    }

    async complete(params) {
        assert.equal(params.get("state"), this.state);
        assert.equal(params.get("iss"), this.metadata.issuer);
        return this.auth.completeAuthorizationCodeGrant(params.get("code"), this.asked.redirect_uris[0]);
    }

    /** A tab of its own: nothing is shared with other tabs but what is stored. */
    tab() {
        const auth = new this.sdk.OAuth2(this.metadata, this.auth.context);
        return async (refreshToken) => {
            const t = await auth.performRefreshTokenGrant(refreshToken);
            return { access: t.access_token, refresh: t.refresh_token, expiresIn: t.expires_in };
        };
    }

    revoke(token, hint) {
        return this.auth.revokeToken(token, hint);
    }

    isOver(err) {
        return err.httpStatus === 400 && err.error === "invalid_grant";
    }
}

/** 41: oidc-client-ts, which wants a window, and checks the id token that it asks for. */
class Old extends Common {
    async discover() {
        const fromHomeserver = await this.client().getAuthMetadata();
        this.metadata = await this.sdk.discoverAndValidateOIDCIssuerWellKnown(fromHomeserver.issuer);
        assert.equal(this.metadata.issuer, fromHomeserver.issuer);
    }

    async register(asked) {
        this.asked = asked;
        const { client_name, client_uri, application_type, redirect_uris, contacts, tos_uri, policy_uri, logo_uri } = asked;
        this.clientId = await this.sdk.registerOidcClient(this.metadata, {
            clientName: client_name,
            clientUri: client_uri,
            applicationType: application_type,
            redirectUris: redirect_uris,
            contacts,
            tosUri: tos_uri,
            policyUri: policy_uri,
            logoUri: logo_uri,
        });
    }

    authorizationUrl(mode, _state) {
        this.mode = mode;
        return this.sdk.generateOidcAuthorizationUrl({
            metadata: this.metadata,
            redirectUri: this.asked.redirect_uris[0],
            clientId: this.clientId,
            homeserverUrl: this.baseUrl,
            nonce: "a-nonce",
            responseMode: mode,
        });
    }

    async complete(params) {
        const done = await this.sdk.completeAuthorizationCodeGrant(params.get("code"), params.get("state"), this.mode);
        this.claims = done.idTokenClaims;
        const t = done.tokenResponse;
        return { ...t, expires_in: Math.round(t.expires_at - Date.now() / 1000) };
    }

    tab() {
        const { issuer } = this.metadata;
        const refresher = new this.sdk.OidcTokenRefresher(issuer, this.clientId, this.asked.redirect_uris[0], "DEVICE", this.claims);
        return async (refreshToken) => {
            const t = await refresher.doRefreshAccessToken(refreshToken);
            return { access: t.accessToken, refresh: t.refreshToken, expiresIn: Math.round((t.expiry - Date.now()) / 1000) };
        };
    }

    /** Element Web of that time revokes by oidc-client-ts, which sends just this. */
    async revoke(token, hint) {
        const answer = await fetch(this.metadata.revocation_endpoint, {
            method: "POST",
            body: new URLSearchParams({ client_id: this.clientId, token, token_type_hint: hint }),
        });
        assert.equal(answer.status, 200);
        await answer.json();
    }

    isOver(err) {
        return err.name === "TokenRefreshLogoutError" || err instanceof this.sdk.TokenRefreshLogoutError;
    }
}

function pretendWindow() {
    const store = () => {
        const kept = new Map();
        return {
            get length() { return kept.size; },
            key: (i) => [...kept.keys()][i] ?? null,
            getItem: (k) => kept.get(k) ?? null,
            setItem: (k, v) => void kept.set(k, String(v)),
            removeItem: (k) => void kept.delete(k),
        };
    };
    globalThis.window = { sessionStorage: store(), localStorage: store(), location: { origin: "https://app.example.com" } };
}

export async function load(version, baseUrl) {
    hush();
    if (version === "js41") pretendWindow();
    const sdk = await import(version);
    return version === "js41" ? new Old(version, sdk, baseUrl) : new Stable(version, sdk, baseUrl);
}
