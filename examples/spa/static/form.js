// A form: sent by script, once at a time; what is refused stands at its field, or above.

/** Have `act(values)` done when the form is sent, and show what it throws. */
export function onSubmit(form, act) {
  const button = form.querySelector("button[type=submit]");
  // The service has the last word on every field, and says it in the same place.
  form.noValidate = true;
  form.addEventListener("input", ({ target }) => mark(target, []));
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    // Not `disabled`, which would take the focus away.
    if (button.ariaDisabled === "true") return;
    button.ariaDisabled = "true";
    clear(form);
    let seconds = 0;
    try {
      // What nobody filled in is not sent: it is missing, and no text of no characters.
      await act(Object.fromEntries([...new FormData(form)].filter(([, value]) => value)));
    } catch (error) {
      show(form, error);
      seconds = error.retryAfter ?? 0;
    }
    setTimeout(() => (button.ariaDisabled = "false"), seconds * 1000);
  });
}

/** Show above a form, or in the place for it in another view, why something did not work. */
export function alertWith(root, error) {
  const wait = error.retryAfter > 5 ? ` You can try again in ${duration(error.retryAfter)}.` : "";
  const number = error.status === 500 && error.requestId ? ` If you ask for help, name ${error.requestId}.` : "";
  root.querySelector("[role=alert]").textContent = error.message + wait + number;
}

/** Say at a field what is wrong with it. */
export function mark(field, messages) {
  field.ariaInvalid = messages.length ? "true" : null;
  field.form.querySelector(`#${field.id}-problems`)?.replaceChildren(...messages.map(item));
}

function show(form, error) {
  let first = null;
  for (const [name, messages] of Object.entries(error.details ?? {})) {
    const field = form.elements[name];
    if (field) mark(field, messages);
    first ??= field;
  }
  if (first) first.focus();
  else alertWith(form, error);
}

function clear(form) {
  form.querySelector("[role=alert]").textContent = "";
  for (const field of form.querySelectorAll("input")) mark(field, []);
}

function item(text) {
  const line = document.createElement("li");
  line.textContent = text;
  return line;
}

function duration(seconds) {
  return seconds < 90 ? `${seconds} seconds` : `${Math.ceil(seconds / 60)} minutes`;
}
