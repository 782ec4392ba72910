// One job, endpoint or package: what is common to all of them.

import {h, mount, patch, slot} from "./dom.js";
import {WORDS, ago, badge, copyable, took} from "./format.js";
import {Log} from "./log.js";
import {get} from "./server.js";

export class Detail {
  constructor(kind, name) {
    this.kind = kind;
    this.name = name;
    this.title = name;
    this.log = new Log();
  }

  async refresh(root) {
    const path = `/local/detail/${this.kind}/${encodeURIComponent(this.name)}`;
    let answer;
    try {
      answer = await get(path);
    } catch (error) {
      if (error.status !== 404) throw error;
      patch(root, [h("h1", {}, this.name), h("p", {}, `There is no ${WORDS[this.kind][1]} of this name (any more). `,
        h("a", {href: `#/${this.kind}`}, `All ${WORDS[this.kind][0].toLowerCase()}`))]);
      return null;
    }
    const {row, record} = answer;
    const hasLog = !["tuning-jobs", "model-packages"].includes(this.kind);
    patch(root, [
      h("div", {class: "head"},
        h("p", {class: "quiet"}, h("a", {href: `#/${this.kind}`}, WORDS[this.kind][0])),
        h("h1", {}, this.name), badge(row.status),
        h("span", {class: "buttons"}, this.buttons(answer).map(([action, text]) =>
          h("button", {class: "danger", "data-ask": action, "data-key": action}, text)))),
      record.FailureReason && h("p", {class: "reason", role: "alert"}, record.FailureReason),
      facts([["Created", ago(row.created)],
        this.kind.endsWith("-jobs") && ["Took", took(row.created, row.ended)], ...this.facts(answer)]),
      ...this.first(answer),
      hasLog && slot("log"),
      ...this.body(answer),
      h("details", {"data-key": "raw"}, h("summary", {}, "The whole record"),
        h("pre", {class: "raw"}, JSON.stringify(record, null, 1))),
    ].filter(Boolean));
    if (hasLog) {
      mount(root, "log", this.log.element);
      this.log.use(answer.group, answer.streams);
      await this.log.refresh();
    }
    await this.after(root, answer);
    return null;
  }

  /** [[action, words]]: what one can do with it now. */
  buttons() { return []; }

  /** [[label, value]]: what stands at the top. */
  facts() { return []; }

  /** The elements between the facts and the log. */
  first() { return []; }

  /** The elements after the log. */
  body() { return []; }

  async after() {}
}

export function facts(pairs) {
  return h("dl", {class: "facts"}, pairs.filter((pair) => pair && pair[1]).map(([label, value]) =>
    h("div", {"data-key": label}, h("dt", {}, label), h("dd", {}, value))));
}

/** A section with a table of names and values; nothing where there are none. */
export function values(title, pairs) {
  if (!pairs.length) return null;
  return h("section", {"data-key": title}, h("h2", {}, title), h("table", {class: "values"}, h("tbody", {},
    pairs.map(([name, value]) => h("tr", {"data-key": name}, h("th", {scope: "row"}, name), h("td", {}, value))))));
}

/** Pairs of a label and a place (a path, a URI) that one may copy; those that are missing are left out. */
export function places(pairs) {
  return pairs.filter(([, place]) => place).map(([label, place]) => [label, copyable(place)]);
}
