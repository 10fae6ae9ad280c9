// A way through the API with the client that openapi-typescript and openapi-fetch make of its document.

import assert from "node:assert/strict";
import createClient from "openapi-fetch";
import type { paths } from "./schema.mjs";

const [address, email, password] = process.argv.slice(2);
assert(address && email && password);
const api = createClient<paths>({ baseUrl: address });

async function mailedToken(): Promise<string> {
  for (let tries = 0; tries < 100; tries += 1) {
    const box = await fetch(`${address}/dev/mailbox`, { headers: { Accept: "application/json" } });
    const mails = (await box.json()) as { to: string; links: string[] }[];
    const link = mails.find((mail) => mail.to === email)?.links[0];
    if (link) return new URL(link).searchParams.get("token") ?? assert.fail("the link has no token");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return assert.fail("no mail came");
}

const registered = await api.POST("/api/auth/register", { body: { email, password, name: "Alice" } });
assert.equal(registered.response.status, 201);
assert.equal(registered.data?.data.user.name, "Alice");

const early = await api.POST("/api/auth/login/json", { body: { email, password } });
assert.equal(early.error?.error.code, "EMAIL_NOT_VERIFIED");

const verified = await api.POST("/api/auth/verify-email", { body: { token: await mailedToken() } });
assert.equal(verified.data?.data.user.is_verified, true);

const first = await api.POST("/api/auth/login", { body: { email, password } });
assert(first.data && "success" in first.data, "JSON is answered in the envelope");
const form = await api.POST("/api/auth/login", {
  body: { username: email, password, grant_type: "password" },
  headers: { "Content-Type": "application/x-www-form-urlencoded" },
});
assert(form.data && "access_token" in form.data, "a form is answered as OAuth2 says");

function signedIn(token: string) {
  return { headers: { Authorization: `Bearer ${token}` } };
}

const me = await api.GET("/api/auth/me", signedIn(first.data.data.access_token));
assert.equal(me.data?.data.user.email, email);

const refreshed = await api.POST("/api/auth/refresh", { body: { refresh_token: first.data.data.refresh_token } });
assert(refreshed.data);
const { access_token, refresh_token } = refreshed.data.data;
const sessions = await api.GET("/api/auth/sessions", signedIn(access_token));
assert.equal(sessions.data?.data.sessions.length, 2);

const out = await api.POST("/api/auth/logout", { body: { refresh_token } });
assert.equal(out.response.status, 200);
const refused = await api.GET("/api/auth/me", signedIn(access_token));
assert.equal(refused.response.status, 401);
assert.equal(refused.error?.error.code, "TOKEN_REVOKED");

// What the document does not have, the type checker refuses.
// @ts-expect-error
await api.POST("/api/auth/login/json", { body: { email, pass: password } });

console.log("walked");
