// Asking the server: JSON of /local/ with the version that is known, and the operations of the API itself.

const known = new Map(); // path -> {tag, value}

/** The answer of a path; what was answered before when the server says that nothing changed. */
export async function get(path) {
  const before = known.get(path);
  const headers = before ? {"If-None-Match": before.tag} : {};
  const response = await fetch(path, {headers, cache: "no-store"});
  if (response.status === 304) return before.value;
  const value = await response.json();
  if (!response.ok) throw Object.assign(new Error(value.message), {status: response.status});
  const tag = response.headers.get("ETag");
  if (tag) known.set(path, {tag, value});
  return value;
}

/** Forgets what was known: the answers of a page that was left. */
export function forget() {
  known.clear();
}

/** An operation of the API, as any client of AWS asks it. */
export function perform(operation, parameters) {
  return post("/", parameters, {"X-Amz-Target": `SageMaker.${operation}`, "Content-Type": "application/x-amz-json-1.1"});
}

export async function post(path, body, headers = {"Content-Type": "application/json"}) {
  const response = await fetch(path, {method: "POST", headers, body: JSON.stringify(body)});
  const text = await response.text();
  if (!response.ok) {
    let message = text;
    try { message = JSON.parse(text).message ?? text; } catch { /* not JSON: shown as it is */ }
    throw new Error(message);
  }
}
