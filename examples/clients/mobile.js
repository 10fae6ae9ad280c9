// A client on a phone. Its store is the system's (Keychain, Keystore): `get()`, `set(token)` and `delete()`, each
// giving a promise. Connections break there and programs are killed, so each step below may be the last one.

import { patiently, send } from "./http.js";

const TOKEN_REFUSALS = ["UNAUTHORIZED", "TOKEN_EXPIRED", "TOKEN_INVALID", "TOKEN_REVOKED", "TOKEN_REUSED"];

/** Make a client. `onSignedOut(code)` hears why the user has to log in again. */
export function mobileClient(address, store, { onSignedOut = () => {} } = {}) {
  let accessToken = null;
  let refreshing = null;
  let last = Promise.resolve();

  async function request(method, path, body) {
    const headers = accessToken ? { Authorization: `Bearer ${accessToken}` } : {};
    const { data } = await send(method, path instanceof URL ? path : address + path, { body, headers });
    if (data?.access_token && !(path instanceof URL)) await keep(data);
    return data;
  }

  // Stored before anything is done with it: whoever is killed in between starts again with the newest one.
  async function keep({ access_token, refresh_token }) {
    await store.set(refresh_token);
    accessToken = access_token;
  }

  /**
   * Call a route as whoever is signed in: a path below the address or, for another service, a URL. Throws `NoAnswer`
   * while there is no network: nobody is signed out by that.
   */
  async function call(method, path, body) {
    if (!accessToken && (await store.get())) await refresh(null);
    const seen = accessToken;
    try {
      return await request(method, path, body);
    } catch (error) {
      if (!seen || !TOKEN_REFUSALS.includes(error.code)) throw error;
      await refresh(seen);
      return request(method, path, body);
    }
  }

  // However many requests find the access token expired, one of them gets the next.
  function refresh(seen) {
    if (accessToken !== seen) return null;
    refreshing ??= alone(renew).finally(() => (refreshing = null));
    return refreshing;
  }

  // One after the other: the answer of a refresh, coming late, would undo a logout.
  function alone(work) {
    const done = last.then(work);
    last = done.catch(() => {});
    return done;
  }

  async function renew() {
    const refresh_token = await store.get();
    // Signed out while this waited.
    if (!refresh_token) return;
    try {
      // The same token again while answers are lost, and at once: for REFRESH_REUSE_LEEWAY_SECONDS the service gives
      // the same successor again. Later it takes the token for a stolen one.
      const work = () => send("POST", `${address}/refresh`, { body: { refresh_token }, seconds: 5 });
      await keep((await patiently(work)).data);
    } catch (error) {
      if (TOKEN_REFUSALS.includes(error.code)) await forget(error.code);
      throw error;
    }
  }

  async function forget(code) {
    accessToken = null;
    await store.delete();
    onSignedOut(code);
  }

  return {
    call,
    logIn: (email, password) => alone(() => request("POST", "/login/json", { email, password })),
    isSignedIn: async () => Boolean(await store.get()),
    /** Sign out here in any case; without a network the session itself goes on, with no token left to use it. */
    logOut: () =>
      alone(async () => {
        const refresh_token = await store.get();
        await request("POST", "/logout", { refresh_token }).catch(() => {});
        await forget();
      }),
  };
}
