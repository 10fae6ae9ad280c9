// Tokens in the hands of the script: the access token in memory, for this tab; the refresh token in a store that all
// tabs share. docs/clients.md says what each place to keep it means.

import { browserClient } from "./browser.js";

const REFRESH_TOKEN = "authapp_refresh_token";

export const bearerClient = ({ store = localStorage, ...options } = {}) => browserClient(bearer(store), options);

function bearer(store) {
  let accessToken = null;
  // One that is over, which the store may go on showing for a moment after another tab has taken it out.
  let over = null;
  const refreshToken = () => (store.getItem(REFRESH_TOKEN) === over ? null : store.getItem(REFRESH_TOKEN));

  return {
    // No cookies, neither sent nor taken, where the service sets some too.
    options: (path) => ({
      credentials: "omit",
      headers: accessToken && path !== "/refresh" ? { Authorization: `Bearer ${accessToken}` } : {},
    }),
    // Another tab may just have used it, and what it wrote not be seen here yet: the service then gives this one the
    // same successor.
    refreshBody: () => ({ refresh_token: refreshToken() }),
    mustRefresh: () => accessToken === null && refreshToken() !== null,
    isSignedIn: () => refreshToken() !== null,
    generation: () => accessToken,
    // Another tab has signed in or out: what this one holds is over, or somebody else's.
    drop(isSignedIn) {
      accessToken = null;
      if (!isSignedIn) over = store.getItem(REFRESH_TOKEN);
    },

    keep(data) {
      store.setItem(REFRESH_TOKEN, data.refresh_token);
      accessToken = data.access_token;
    },

    forget() {
      store.removeItem(REFRESH_TOKEN);
      accessToken = null;
    },
  };
}
