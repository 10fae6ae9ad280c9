"use strict";

const status = document.getElementById("status");

function cookie(name) {
  return document.cookie.split("; ").find((pair) => pair.startsWith(name + "="))?.slice(name.length + 1) ?? "";
}

async function send(method, path, body, csrf) {
  const headers = { "Content-Type": "application/json", "X-CSRF-TOKEN": cookie(csrf ?? "csrf_access_token") };
  const response = await fetch(path, { method, headers, body: body && JSON.stringify(body) });
  if (response.status === 401 && csrf === undefined && cookie("logged_in")) {
    // The access token is over: the refresh token, which only this path gets, brings the next one.
    await send("POST", "/api/auth/refresh", {}, "csrf_refresh_token");
    return send(method, path, body, "csrf_access_token");
  }
  return response;
}

async function act(method, path, body, done) {
  const response = await send(method, path, body);
  if (response.ok && done) status.replaceChildren(document.getElementById(done).content.cloneNode(true));
  else if (response.ok) location.reload();
  else status.textContent = (await response.json().catch(() => null))?.error.message ?? "That did not work.";
}

async function refresh() {
  if ((await send("POST", "/api/auth/refresh", {}, "csrf_refresh_token")).ok) return location.reload();
  // Nothing is left to go on with: this clears the cookies.
  await send("POST", "/api/auth/logout", {}, "csrf_refresh_token");
  location.assign("/");
}

function onSubmit(id, path, done) {
  document.getElementById(id)?.addEventListener("submit", (event) => {
    event.preventDefault();
    act("POST", path, Object.fromEntries(new FormData(event.target)), done);
  });
}

if ("refresh" in document.body.dataset) refresh();
onSubmit("register", "/api/auth/register", "registered");
onSubmit("login", "/api/auth/login");
onSubmit("add", "/notes");
document.getElementById("logout")?.addEventListener("click", () => act("POST", "/api/auth/logout", {}));
for (const button of document.querySelectorAll("[data-note]")) {
  button.addEventListener("click", () => act("DELETE", `/notes/${button.dataset.note}`));
}
