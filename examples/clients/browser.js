// A client in a browser, whichever way it shows who it is (cookies.js, bearer.js): one refresh at a time in all tabs
// of this browser, each request repeated once after it, and every tab told who signs in and out.

import { patiently, send } from "./http.js";

// What a request hears when what it was sent with is no good, or no longer: a refresh then tells whether there is
// better. A wrong password is none of these, but INVALID_CREDENTIALS; nor is FRESH_LOGIN_REQUIRED, which wants one.
const TOKEN_REFUSALS = [
  "UNAUTHORIZED", "TOKEN_EXPIRED", "TOKEN_INVALID", "TOKEN_REVOKED", "TOKEN_REUSED", "CSRF_FAILED",
];
// These change the tokens of this browser, so that none of them may cross a refresh.
const CHANGES = ["/register", "/login/json", "/change-password", "/logout"];
// Short, so that a refresh is tried four times while the service still gives the same answer (30 seconds).
const SECONDS = { "/refresh": 5 };

/** Make a client. `onChange(isSignedIn, code)` hears what other tabs do, and of the end of the session. */
export function browserClient(way, { service = "", prefix = "/api/auth", onChange = () => {} } = {}) {
  const tabs = new BroadcastChannel("authapp");
  let refreshing = null;
  tabs.onmessage = ({ data: { isSignedIn, code } }) => {
    way.drop(isSignedIn);
    onChange(isSignedIn, code);
  };

  /** Call a route that needs nobody to be signed in. */
  function ask(method, path, body) {
    const work = () => request(method, path, body);
    return CHANGES.includes(path) ? alone(work) : work();
  }

  /** Call a route as whoever is signed in: a path below the prefix or, for a service of your own, a URL. */
  async function call(method, path, body) {
    const seen = way.generation();
    try {
      if (way.mustRefresh()) await refresh(seen);
      return await ask(method, path, body);
    } catch (error) {
      if (!TOKEN_REFUSALS.includes(error.code) || !way.isSignedIn()) throw error;
      await refresh(seen);
      return ask(method, path, body);
    }
  }

  /** End the session. Without an answer it goes on, and this throws: the user should know. */
  async function logOut() {
    await patiently(() => ask("POST", "/logout", way.refreshBody())).catch((error) => {
      // With the wrong CSRF token nothing is over: these may be another page's cookies by now, and somebody signed in.
      if (error.code === "CSRF_FAILED" || !TOKEN_REFUSALS.includes(error.code)) throw error;
    });
    end();
  }

  async function request(method, path, body) {
    const isOurs = !(path instanceof URL);
    const url = isOurs ? service + prefix + path : path;
    const { data, headers } = await send(method, url, { seconds: SECONDS[path], ...way.options(path), body });
    // Of nobody else's answer.
    const hasTokens = isOurs && data?.access_token;
    if (hasTokens) way.keep(data, headers);
    if (hasTokens && path !== "/refresh") tabs.postMessage({ isSignedIn: true });
    return data;
  }

  /** Get new tokens, unless that was done since `seen` was what we had. */
  function refresh(seen) {
    refreshing ??= alone(async () => {
      if (way.generation() !== seen) return;
      try {
        await patiently(() => request("POST", "/refresh", way.refreshBody()));
      } catch (error) {
        if (TOKEN_REFUSALS.includes(error.code)) end(error.code);
        throw error;
      }
    }).finally(() => (refreshing = null));
    return refreshing;
  }

  function end(code) {
    way.forget();
    tabs.postMessage({ isSignedIn: false, code });
    onChange(false, code);
  }

  return { ask, call, logOut, isSignedIn: way.isSignedIn };
}

// Web Locks are for all tabs of this origin; browsers have them on https and on this very machine. Without them two
// tabs may refresh at once, and the service gives both the same successor.
function alone(work) {
  return navigator.locks ? navigator.locks.request("authapp", work) : work();
}
