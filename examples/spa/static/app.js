// The page: which view is shown, and what its forms do. How requests are made is in clients/.

import { bearerClient } from "../clients/bearer.js";
import { cookieClient } from "../clients/cookies.js";
import { alertWith, mark, onSubmit } from "./form.js";

const service = document.querySelector("meta[name=service]").content;
const view = document.getElementById("view");
const status = document.getElementById("status");
const tokens = document.getElementById("tokens");
// For guests only; every other view but those that a mail leads to needs a login.
const GUESTS = ["login", "register", "mail", "forgot"];
const MAILED = ["verify", "reset"];
const WHY = {
  TOKEN_REUSED: "For safety you were logged out: somebody else may have used your session. Change your password.",
  TOKEN_EXPIRED: "You were away for long. Please log in again.",
};

tokens.value = localStorage.getItem("tokens") ?? "cookies";
const client = (tokens.value === "bearer" ? bearerClient : cookieClient)({ service, onChange });

// Each has a root of its own: an answer that comes when another view is shown is written into what is gone.
const views = {
  login(root) {
    onSubmit(form(root), async ({ email, password }) => {
      try {
        await client.ask("POST", "/login/json", { email, password });
        go("/");
      } catch (error) {
        if (error.code !== "EMAIL_NOT_VERIFIED") throw error;
        go("/mail", { email, say: error.message });
      }
    });
  },

  register(root) {
    onSubmit(form(root), async (account) => {
      try {
        await client.ask("POST", "/register", account);
        go("/mail", { email: account.email });
      } catch (error) {
        if (error.code !== "USER_ALREADY_EXISTS") throw error;
        mark(form(root).elements.email, [error.message]);
        form(root).elements.email.focus();
      }
    });
  },

  mail(root, { email = "" }) {
    form(root).elements.email.value = email;
    // Only whoever sits at the machine of a service in development sees it.
    const local = ["127.0.0.1", "localhost"].includes(location.hostname);
    root.querySelector("#mailbox").hidden = !local;
    root.querySelector("#mailbox a").href = `${service}/dev/mailbox`;
    onSubmit(form(root), async (body) => say((await client.ask("POST", "/resend-verification", body)).message));
  },

  // A mail scanner opens links, and some run scripts: only the button sends.
  verify(root, { token }) {
    onSubmit(form(root), async () => {
      const { message } = await client.ask("POST", "/verify-email", { token });
      go("/login", { say: `${message} You can log in now.` });
    });
  },

  forgot(root) {
    onSubmit(form(root), async (body) => say((await client.ask("POST", "/forgot-password", body)).message));
  },

  reset(root, { token }) {
    onSubmit(form(root), async (body) => {
      const { message } = await client.ask("POST", "/reset-password", { token, ...body });
      go("/login", { say: message });
    });
  },

  async account(root) {
    const greet = ({ user }) => {
      root.querySelector("h1").textContent = `Hello ${user.name ?? user.email}`;
      root.querySelector("[data-show=email]").textContent = user.email;
      root.querySelector("[data-show=created_at]").textContent = day(user.created_at);
      form(root).elements.name.value = user.name ?? "";
      // Not before there is something in it: it would come over what somebody has typed already.
      form(root).hidden = false;
    };
    onSubmit(form(root), async ({ name }) => {
      greet(await client.call("PATCH", "/me", { name: name || null }));
      say("Saved.");
    });
    greet(await client.call("GET", "/me"));
  },

  async sessions(root) {
    const others = root.querySelector("#end-others");
    const list = async () => {
      const { sessions } = await client.call("GET", "/sessions");
      root.querySelector("ul").replaceChildren(...sessions.map((one) => row(root, one, list)));
      others.hidden = sessions.length < 2;
    };
    press(root, others, async () => {
      const { revoked } = await client.call("DELETE", "/sessions");
      say(`${revoked} ended.`);
      await list();
    });
    await list();
  },

  password(root) {
    onSubmit(form(root), async (body) => {
      await client.call("POST", "/change-password", body);
      form(root).reset();
      say("Your password has been changed.");
    });
  },
};

function row(root, session, list) {
  const line = document.getElementById("row-session").content.cloneNode(true);
  const button = line.querySelector("button");
  const device = session.device ?? "Something unknown";
  line.querySelector("[data-show=device]").textContent = device;
  line.querySelector(".badge").hidden = !session.current;
  line.querySelector(".hint").textContent = `${session.ip ?? ""} · last used ${moment(session.last_used_at)}`;
  button.hidden = session.current;
  button.ariaLabel = `End ${device}, last used ${moment(session.last_used_at)}`;
  press(root, button, async () => {
    await client.call("DELETE", `/sessions/${session.id}`);
    say("The session is over.");
    await list();
    root.querySelector("h1").focus();
  });
  return line;
}

/** Show the view of the address, and hand it the token of a mail, which then leaves the address bar. */
async function show() {
  const here = new URL(location.href);
  const token = here.searchParams.get("token");
  if (token) history.replaceState({ token }, "", here.pathname);
  const name = allowed(here.pathname.slice(1) || "account");
  const { say: told = "", ...given } = history.state ?? {};
  const root = document.createElement("div");
  root.append(document.getElementById(`view-${name}`).content.cloneNode(true));
  view.replaceChildren(root);
  document.getElementById("nav").hidden = !client.isSignedIn();
  markCurrent();
  say(told);
  try {
    await views[name](root, given);
  } catch (error) {
    if (root.querySelector("[role=alert]")) alertWith(root, error);
  }
  if (!root.isConnected) return;
  const heading = root.querySelector("h1");
  document.title = `${heading.textContent} · Lighthouse`;
  heading.tabIndex = -1;
  heading.focus();
}

function allowed(name) {
  const signedIn = client.isSignedIn();
  if (MAILED.includes(name) || GUESTS.includes(name) !== signedIn) return name;
  history.replaceState(history.state, "", signedIn ? "/" : "/login");
  return signedIn ? "account" : "login";
}

function go(path, state = null) {
  history.pushState(state, "", path);
  return show();
}

function onChange(isSignedIn, code) {
  if (MAILED.includes(location.pathname.slice(1))) return;
  if (isSignedIn) show();
  else go("/login", { say: WHY[code] ?? "You are logged out." });
}

function markCurrent() {
  for (const link of document.querySelectorAll("nav a")) {
    link.ariaCurrent = link.pathname === location.pathname ? "page" : null;
  }
}

function press(root, button, act) {
  button.addEventListener("click", () => act().catch((error) => alertWith(root, error)));
}

function form(root) {
  return root.querySelector("form");
}

function say(text) {
  status.textContent = text;
}

function day(time) {
  return new Date(time).toLocaleDateString("en-GB", { dateStyle: "long" });
}

function moment(time) {
  return new Date(time).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" });
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a");
  const plain = !(event.ctrlKey || event.metaKey || event.shiftKey || event.button);
  if (!link || link.target || link.origin !== location.origin || !plain) return;
  event.preventDefault();
  go(link.pathname);
});
document.getElementById("logout").addEventListener("click", () => client.logOut().catch((error) => say(error.message)));
tokens.addEventListener("change", () => {
  localStorage.setItem("tokens", tokens.value);
  location.assign("/");
});
// Somebody may have ended this session elsewhere while nobody looked.
document.addEventListener("visibilitychange", () => {
  if (!document.hidden && client.isSignedIn()) client.call("GET", "/me").catch(() => {});
});
addEventListener("offline", () => say("You are offline."));
addEventListener("online", () => say("You are online again."));
addEventListener("popstate", show);
show();
