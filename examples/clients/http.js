// What every client needs: send a request, and tell the ways apart in which it can end.

const PATIENCE_SECONDS = [1, 2, 4];

/** The service refused: act on `code` (docs/errors.md), show `message`, and `details`, messages by field. */
export class Refusal extends Error {
  constructor(status, { code, message, details = {} }, headers) {
    super(message);
    const retryAfter = Number(headers.get("Retry-After")) || 0;
    Object.assign(this, { name: "Refusal", status, code, details, retryAfter, requestId: headers.get("X-Request-ID") });
  }
}

/** An error in other words than the service has, as from a route of your own: `status`, and `data` if it is JSON. */
export class Failure extends Error {
  constructor(status, data) {
    super(`The server answered with an error (${status}).`);
    Object.assign(this, { name: "Failure", status, data });
  }
}

/** No answer of the service came back. It may have done what was asked all the same. */
export class NoAnswer extends Error {
  constructor(cause) {
    super("The server cannot be reached. Please try again.", { cause });
    this.name = "NoAnswer";
  }
}

/** Give what an answer says, out of its envelope where it has one, and its headers; throws one of the above. */
export async function send(method, url, { body, headers, seconds = 30, ...options } = {}) {
  let response, text;
  try {
    response = await fetch(url, {
      method,
      headers: { ...(body && { "Content-Type": "application/json" }), ...headers },
      body: body && JSON.stringify(body),
      signal: AbortSignal.timeout(seconds * 1000),
      ...options,
    });
    text = await response.text();
  } catch (error) {
    // No network, too slow, or broken off half-way.
    throw new NoAnswer(error);
  }
  const answer = parsed(text);
  if (answer?.error?.code) throw new Refusal(response.status, answer.error, response.headers);
  // What a proxy says that reaches nobody (502 to 504), or a network that wants a login of its own first.
  if (response.status > 501 || (response.ok && answer === undefined)) throw new NoAnswer(response.status);
  if (!response.ok) throw new Failure(response.status, answer);
  return { data: answer?.success ? answer.data : answer, headers: response.headers };
}

/** Give what is in this JSON, null where nothing is, and undefined where it is none. */
function parsed(text) {
  try {
    return text === "" ? null : JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Do again what may be done twice, while no answer comes or the service asks to come back (503, `Retry-After`). */
export async function patiently(work, patience = PATIENCE_SECONDS) {
  for (const seconds of patience) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof NoAnswer) && error.status !== 503) throw error;
      await new Promise((done) => setTimeout(done, Math.max(seconds, error.retryAfter ?? 0) * 1000));
    }
  }
  return work();
}
