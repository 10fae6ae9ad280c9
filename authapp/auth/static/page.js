// What the pages gain by a script; each works without it. Nothing is sent unless a person presses the button: mail
// scanners open the links, and some run what they find there.
(() => {
  "use strict";

  const form = document.querySelector("form[data-route]");
  const view = document.getElementById("view");
  const status = document.getElementById("status");

  hideToken();
  if (form) {
    form.noValidate = true;
    // Firefox keeps a button as it was when the page is loaded again.
    form.querySelector("button").disabled = false;
    form.addEventListener("submit", submit);
    form.addEventListener("input", (event) => mark(event.target, []));
    offerToReveal();
  }

  // Take the token out of the address bar; the history keeps it, for a phone that has to load the page again.
  function hideToken() {
    const here = new URL(location.href);
    const token = here.searchParams.get("token");
    if (token) {
      here.searchParams.delete("token");
      history.replaceState({ token }, "", here);
    } else if (!form && history.state?.token) {
      here.searchParams.set("token", history.state.token);
      location.replace(here);
    }
  }

  function offerToReveal() {
    const box = document.getElementById("reveal");
    if (!box) return;
    box.closest("label").hidden = false;
    box.checked = false;
    box.addEventListener("change", () => reveal(box.checked));
  }

  function reveal(shown) {
    for (const field of fields()) field.type = shown ? "text" : "password";
  }

  async function submit(event) {
    event.preventDefault();
    const button = form.querySelector("button");
    if (button.disabled || !isFilledIn()) return;
    button.disabled = true;
    alertWith("");
    status.textContent = form.dataset.sending;
    try {
      await answer(await send());
    } catch {
      alertWith(form.dataset.offline);
    } finally {
      button.disabled = false;
    }
  }

  function isFilledIn() {
    for (const field of fields()) {
      const other = document.getElementById(field.dataset.sameAs);
      if (!field.value) mark(field, [field.dataset.missing]);
      else if (other && other.value !== field.value) mark(field, [field.dataset.differs]);
      else mark(field, []);
    }
    return !focusProblem();
  }

  function send() {
    const entries = [...new FormData(form)].filter(([name]) => !form.elements[name].dataset.sameAs);
    return fetch(form.dataset.route, {
      method: "POST",
      headers: { "Content-Type": "application/json", Accept: "application/json" },
      body: JSON.stringify(Object.fromEntries(entries)),
    });
  }

  async function answer(response) {
    const error = response.ok ? null : await errorOf(response);
    const problems = error?.details ?? {};
    if (response.ok) show("done");
    else if (error?.code?.startsWith("LINK_") || problems.token) show("refused");
    else if (!showAtFields(problems)) alertWith(error?.message ?? form.dataset.failed);
  }

  // A proxy in between may answer with a page of its own.
  async function errorOf(response) {
    try {
      return (await response.json()).error;
    } catch {
      return null;
    }
  }

  function show(id) {
    view.replaceChildren(document.getElementById(id).content.cloneNode(true));
    const heading = view.querySelector("h1");
    heading.tabIndex = -1;
    heading.focus();
    document.title = `${heading.textContent} · ${document.querySelector("meta[name=application-name]").content}`;
    status.textContent = view.querySelector(".result").textContent;
  }

  function showAtFields(problems) {
    for (const field of fields()) mark(field, problems[field.name] ?? []);
    return focusProblem();
  }

  function mark(field, messages) {
    const list = document.getElementById(`${field.id}-problems`);
    if (!list) return;
    field.setAttribute("aria-invalid", String(messages.length > 0));
    list.replaceChildren(...messages.map(item));
  }

  function item(text) {
    const line = document.createElement("li");
    line.textContent = text;
    return line;
  }

  function focusProblem() {
    const field = form.querySelector("[aria-invalid=true]");
    if (!field) return false;
    status.textContent = "";
    field.focus();
    return true;
  }

  function alertWith(text) {
    const alert = document.getElementById("alert");
    status.textContent = "";
    alert.textContent = text;
    if (text) alert.focus();
  }

  function fields() {
    return form.querySelectorAll(".field input");
  }
})();
