// Tokens in cookies (AUTH_COOKIES=true): the browser keeps them and sends them. What is left to the script is to send
// a CSRF token along.

import { browserClient } from "./browser.js";

// The refresh token has a CSRF token of its own; the service hands both out in a header as well as in a cookie, for
// pages on another host, which cannot read its cookies. They are good for nothing without those.
const ACCESS = { cookie: "csrf_access_token", header: "X-CSRF-TOKEN" };
const REFRESH = { cookie: "csrf_refresh_token", header: "X-CSRF-REFRESH-TOKEN" };
const RENEWED = "authapp_renewed";

export const cookieClient = (options) => browserClient(cookies, options);

// The CSRF token of a session that is over, which may be seen here for a moment after another tab has taken it out.
let over = "";

const cookies = {
  options: (path) => ({
    credentials: "include",
    headers: { "X-CSRF-TOKEN": csrfToken(path === "/refresh" ? REFRESH : ACCESS) },
  }),
  refreshBody: () => undefined,
  mustRefresh: () => false,
  isSignedIn: () => !["", over].includes(csrfToken(ACCESS)),
  // Which cookies these are, whichever tab got them. In a cookie too: what one tab writes to localStorage, another may
  // read a moment later only.
  generation: () => cookieOf(RENEWED),
  drop(isSignedIn) {
    if (!isSignedIn) over = csrfToken(ACCESS);
  },

  keep(_data, headers) {
    for (const { cookie, header } of [ACCESS, REFRESH]) localStorage.setItem(cookie, headers.get(header) ?? "");
    document.cookie = `${RENEWED}=${Date.now()}-${Math.random()}; path=/; samesite=lax`;
    // Read back, so that it has been written before the next tab gets the lock.
    cookieOf(RENEWED);
  },

  forget() {
    for (const name of [ACCESS.cookie, REFRESH.cookie, RENEWED, "logged_in"]) {
      localStorage.removeItem(name);
      document.cookie = `${name}=; path=/; max-age=0`;
    }
  },
};

function csrfToken({ cookie }) {
  return cookieOf(cookie) || localStorage.getItem(cookie) || "";
}

function cookieOf(name) {
  return document.cookie.split("; ").find((pair) => pair.startsWith(`${name}=`))?.slice(name.length + 1);
}
