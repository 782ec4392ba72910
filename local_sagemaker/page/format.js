// How times, numbers, statuses and places are shown.

import {h} from "./dom.js";

const STEPS = [["d", 86400], ["h", 3600], ["m", 60], ["s", 1]];
const TONES = {
  Completed: "good", InService: "good", Approved: "good", Succeeded: "good",
  Failed: "bad", UpdateRollbackFailed: "bad", Rejected: "bad", RollingBack: "bad",
  Stopped: "still", PendingManualApproval: "still", Stopping: "still", Deleting: "still", OutOfService: "still",
};

export const WORDS = {
  "training-jobs": ["Training jobs", "training job"],
  "tuning-jobs": ["Tuning jobs", "tuning job"],
  "endpoints": ["Endpoints", "endpoint"],
  "transform-jobs": ["Transform jobs", "transform job"],
  "model-packages": ["Model packages", "model package"],
};

export function span(seconds) {
  let left = Math.max(0, Math.floor(seconds));
  const parts = [];
  for (const [unit, length] of STEPS) {
    if (left >= length) parts.push(`${Math.floor(left / length)}${unit}`);
    left %= length;
  }
  return parts.slice(0, 2).join(" ") || "0s";
}

const now = () => Date.now() / 1000;
const absolute = (seconds) => new Date(seconds * 1000).toLocaleString(undefined, {dateStyle: "medium", timeStyle: "medium"});

/** "5m ago", with the date on hover. */
export function ago(seconds) {
  const attributes = {datetime: new Date(seconds * 1000).toISOString(), title: absolute(seconds), "data-ago": seconds};
  return h("time", attributes, `${span(now() - seconds)} ago`);
}

/** How long something took, or takes so far: then it goes on by itself. */
export function took(begin, end) {
  const title = `${absolute(begin)} to ${end ? absolute(end) : "now"}`;
  return h("span", {class: "took", title, "data-since": end ? null : begin}, span((end ?? now()) - begin));
}

/** Once a second: what is relative to now. */
export function tick() {
  for (const element of document.querySelectorAll("[data-ago]")) {
    set(element, `${span(now() - Number(element.dataset.ago))} ago`);
  }
  for (const element of document.querySelectorAll("[data-since]")) {
    set(element, span(now() - Number(element.dataset.since)));
  }
}

function set(element, text) {
  if (element.firstChild.nodeValue !== text) element.firstChild.nodeValue = text;
}

export function badge(status) {
  return h("span", {class: `badge ${TONES[status] ?? "busy"}`}, status);
}

export function number(value) {
  if (!Number.isFinite(value)) return "";
  return Number.isInteger(value) && Math.abs(value) < 1e9 ? String(value) : String(Number(value.toPrecision(5)));
}

export function link(kind, name) {
  return h("a", {href: `#/${kind}/${encodeURIComponent(name)}`}, name);
}

/** A text that one copies: a path, a command. */
export function copyable(text) {
  return h("span", {class: "copyable"}, h("code", {}, text),
    h("button", {class: "small", "data-copy": text, "aria-label": `Copy ${text}`}, "Copy"));
}
