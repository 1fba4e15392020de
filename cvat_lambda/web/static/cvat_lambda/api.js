// Requests to the REST API with the session of the page.

// CVAT's own API refuses "application/json" alone.
const ACCEPT = "application/vnd.cvat+json, application/json";

export class ApiError extends Error {
  constructor(message, status, body) {
    super(message);
    this.status = status;
    this.body = body;
  }
}

// The sentence for people in an error's body: {message}, {detail}, or messages by field.
const sentence = (body, status) => {
  if (body && typeof body === "object") {
    if (typeof body.message === "string") return body.message;
    if (typeof body.detail === "string") return body.detail;
    const texts = Object.entries(body).map(([name, value]) => `${name}: ${[].concat(value).map((item) => (typeof item === "string" ? item : JSON.stringify(item))).join(" ")}`);
    if (texts.length) return texts.join("; ");
  }
  return `The server answered with status ${status}.`;
};

export const call = async (method, url, body, { headers = {}, signal } = {}) => {
  const options = {
    method,
    headers: { Accept: ACCEPT, "X-CSRFToken": document.body.dataset.csrf, ...headers },
    credentials: "same-origin",
    signal,
  };
  if (body instanceof FormData || body instanceof Blob) options.body = body;
  else if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  let answer;
  try {
    answer = await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server cannot be reached. Try again.", 0, null);
  }
  const text = await answer.text();
  let parsed = null;
  try {
    parsed = text ? JSON.parse(text) : null;
  } catch {
    parsed = null;
  }
  if (!answer.ok) throw new ApiError(sentence(parsed, answer.status), answer.status, parsed);
  return parsed;
};

export const json = (id) => JSON.parse(document.getElementById(id).textContent);

// The objects of a streamed answer, one after the other as they come.
export const callLines = async function* (url, body) {
  const headers = { Accept: "application/x-ndjson", "Content-Type": "application/json", "X-CSRFToken": document.body.dataset.csrf };
  const answer = await fetch(url, { method: "POST", headers, credentials: "same-origin", body: JSON.stringify(body) });
  if (!answer.ok) {
    const told = await answer.json().catch(() => null);
    throw new ApiError(sentence(told, answer.status), answer.status, told);
  }
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const lines = (text + part.value).split("\n");
    text = lines.pop();
    for (const line of lines) yield JSON.parse(line);
  }
};
