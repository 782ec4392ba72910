// The log of a job or an endpoint: the end of it, then what comes, as `tail -f`; or the lines that hold a text.

import {h} from "./dom.js";
import {get} from "./server.js";

const MOST = 5000; // lines that are kept in the page
const ESCAPES = /\u001b\[[0-9;?]*[ -/]*[@-~]/g; // colours of a terminal

export class Log {
  constructor() {
    this.streams = [];
    this.streamSelect = h("select", {"aria-label": "Log stream"});
    this.follow = h("input", {type: "checkbox", checked: true, id: "follow"});
    this.search = h("input", {type: "search", placeholder: "Lines that contain …", "aria-label": "Search in the log"});
    this.earlier = h("button", {class: "small"}, "From the beginning");
    this.said = h("span", {class: "quiet", role: "status"});
    this.pane = h("div", {class: "log", role: "log", tabindex: 0, "aria-label": "Log lines", "aria-live": "off"});
    this.element = h("section", {class: "logs"}, h("h2", {}, "Log"),
      h("div", {class: "tools"}, this.streamSelect, h("label", {}, this.follow, " follow"), this.search, this.earlier, this.said),
      this.pane);
    this.streamSelect.addEventListener("change", () => this.restart());
    this.search.addEventListener("input", () => this.restart(this.search.value !== ""));
    this.earlier.addEventListener("click", () => this.restart(true));
    this.follow.addEventListener("change", () => this.refresh());
    this.restart();
  }

  /** The streams that there are now; a new one (a restart) is shown when the last one was. */
  use(group, streams) {
    if (group === this.group && streams.join() === this.streams.join()) return;
    const shown = this.streamSelect.value, wasLast = !shown || shown === this.streams.at(-1);
    this.group = group;
    this.streams = streams;
    this.streamSelect.replaceChildren(...streams.map((name) => h("option", {value: name}, name)));
    this.streamSelect.value = wasLast ? streams.at(-1) ?? "" : shown;
    this.streamSelect.hidden = streams.length < 2;
    if (this.streamSelect.value !== shown) this.restart();
  }

  restart(fromBeginning = false) {
    this.next = fromBeginning ? 0 : null;
    this.count = 0;
    this.generation = (this.generation ?? 0) + 1;
    this.pane.replaceChildren();
    if (this.streamSelect.value) this.refresh();
  }

  /** Reads what is new. */
  async refresh() {
    const stream = this.streamSelect.value, generation = this.generation;
    if (!stream) {
      this.said.textContent = "Nothing was printed yet.";
      return;
    }
    if (this.reading || (!this.follow.checked && this.count && this.next !== 0)) return;
    this.reading = true;
    try {
      let more = true;
      while (more && generation === this.generation) {
        const query = new URLSearchParams({group: this.group, stream, contains: this.search.value});
        if (this.next !== null) query.set("from", this.next);
        const answer = await get(`/local/log?${query}`);
        if (generation !== this.generation) break;
        this.next = answer.next;
        this.append(answer.lines);
        more = answer.more;
      }
    } finally {
      this.reading = false;
    }
    if (generation !== this.generation) await this.refresh();
  }

  append(lines) {
    const isAtEnd = this.pane.scrollHeight - this.pane.scrollTop - this.pane.clientHeight < 40;
    this.count += lines.length;
    this.pane.append(...lines.slice(-MOST).map(([stamp, text]) => line(stamp, text)));
    while (this.pane.childElementCount > MOST) this.pane.firstChild.remove();
    if (this.follow.checked && isAtEnd) this.pane.scrollTop = this.pane.scrollHeight;
    const shown = this.pane.childElementCount;
    this.said.textContent = this.count > shown ? `the last ${shown} of ${this.count} lines` : `${shown} ${shown === 1 ? "line" : "lines"}`;
  }
}

function line(stamp, text) {
  const when = new Date(stamp);
  // Of a progress bar that writes over itself, what one would see.
  const seen = text.replace(ESCAPES, "").split("\r").filter((part) => part).at(-1) ?? "";
  return h("div", {}, h("time", {title: when.toLocaleString()}, when.toTimeString().slice(0, 8)), seen);
}
