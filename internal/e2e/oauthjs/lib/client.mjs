// A plain OAuth client that does exactly what it is told.
import assert from "node:assert/strict";
import { createHash, randomBytes } from "node:crypto";

const verifier = randomBytes(48).toString("base64url");
const challenge = createHash("sha256").update(verifier).digest("base64url");

export const randomDevice = () => `BROWSER${randomBytes(4).toString("hex").toUpperCase()}`;
export const matrixScope = (device = randomDevice()) => `urn:matrix:client:api:* urn:matrix:client:device:${device}`;

export class Client {
    /** Registers; the first redirect is the one that is used, with a port if it is on loopback. */
    static async register(base, redirect, more = {}) {
        const { port, ...metadata } = more;
        const made = new Client();
        const answer = await fetch(`${base}/oauth2/registration`, {
            method: "POST",
            headers: { "content-type": "application/json" },
            body: JSON.stringify({
                client_name: "Element",
                client_uri: "https://app.example.com/",
                policy_uri: "https://app.example.com/privacy",
                application_type: redirect.startsWith("https:") ? "web" : "native",
                redirect_uris: [redirect],
                token_endpoint_auth_method: "none",
                grant_types: ["authorization_code", "refresh_token", "urn:ietf:params:oauth:grant-type:device_code"],
                ...metadata,
            }),
        });
        assert.equal(answer.status, 201, await answer.clone().text());
        const redirectUri = port ? redirect.replace(/^(http:\/\/(?:\[[^\]]*\]|[^/:]*))/, `$1:${port}`) : redirect;
        return Object.assign(made, { base, id: (await answer.json()).client_id, redirectUri });
    }

    url(more = {}) {
        const q = new URLSearchParams({
            response_type: "code",
            client_id: this.id,
            redirect_uri: this.redirectUri,
            scope: matrixScope(),
            state: "a state",
            code_challenge: challenge,
            code_challenge_method: "S256",
            ...more,
        });
        return `${this.base}/authorize?${q}`;
    }

    token(form) {
        return fetch(`${this.base}/oauth2/token`, { method: "POST", body: new URLSearchParams({ client_id: this.id, ...form }) });
    }

    redeem(code) {
        return this.token({ grant_type: "authorization_code", code, redirect_uri: this.redirectUri, code_verifier: verifier });
    }

    async startDevice(scope = matrixScope()) {
        const answer = await fetch(`${this.base}/oauth2/device`, { method: "POST", body: new URLSearchParams({ client_id: this.id, scope }) });
        assert.equal(answer.status, 200);
        return answer.json();
    }

    pollDevice(code) {
        return this.token({ grant_type: "urn:ietf:params:oauth:grant-type:device_code", device_code: code });
    }
}
