// The front page (the newest of each kind) and the list of one kind, in windows of 50.

import {h, patch} from "./dom.js";
import {WORDS, ago, badge, copyable, link, took} from "./format.js";
import {get} from "./server.js";

const WINDOW = 50;
const NEWEST = 6;
const EXAMPLE = `import boto3

sagemaker = boto3.client("sagemaker")
sagemaker.create_training_job(
    TrainingJobName="first",
    RoleArn="arn:aws:iam::000000000000:role/anyone",
    AlgorithmSpecification={"TrainingImage": "YOUR-IMAGE", "TrainingInputMode": "File"},
    OutputDataConfig={"S3OutputPath": "file:///tmp/out"},
    ResourceConfig={"InstanceType": "ml.m5.large", "InstanceCount": 1, "VolumeSizeInGB": 10},
    StoppingCondition={"MaxRuntimeInSeconds": 3600},
)`;

export class Front {
  title = "local SageMaker";

  async refresh(root) {
    const kinds = Object.keys(WORDS);
    const answers = await Promise.all(kinds.map((kind) => get(`/local/list/${kind}?plain&limit=${NEWEST}`)));
    const there = kinds.map((kind, place) => ({kind, ...answers[place]})).filter((one) => one.total);
    patch(root, there.length ? there.map(section) : [empty()]);
    return answers[0].counts;
  }
}

export class List {
  constructor(kind) {
    this.kind = kind;
    this.title = WORDS[kind][0];
    this.contains = "";
    this.status = "";
    this.offset = 0;
  }

  async refresh(root) {
    const query = new URLSearchParams({contains: this.contains, status: this.status, offset: this.offset, limit: WINDOW});
    const answer = await get(`/local/list/${this.kind}?${query}`);
    const statuses = Object.keys(answer.counts[this.kind]);
    patch(root, [
      h("h1", {}, this.title),
      h("div", {class: "tools"},
        h("input", {type: "search", "data-input": "contains", placeholder: "Name contains …", "aria-label": "Name contains"}),
        h("select", {"data-input": "status", "aria-label": "Status"}, h("option", {value: ""}, "any status"),
          statuses.map((status) => h("option", {value: status, "data-key": status}, status))),
        h("span", {class: "quiet"}, `${answer.total} in all`)),
      answer.rows.length ? table(this.kind, answer.rows) : h("p", {class: "quiet"}, "None."),
      h("div", {class: "tools pages"},
        h("button", {"data-act": "newer", disabled: this.offset === 0}, "Newer"),
        h("span", {class: "quiet"}, answer.total ? `${this.offset + 1} to ${this.offset + answer.rows.length}` : ""),
        h("button", {"data-act": "older", disabled: this.offset + WINDOW >= answer.total}, "Older")),
    ]);
    return answer.counts;
  }

  input(name, value) {
    this[name] = value;
    this.offset = 0;
  }

  act(name) {
    this.offset = Math.max(0, this.offset + (name === "older" ? WINDOW : -WINDOW));
  }
}

function section({kind, rows, total}) {
  return h("section", {"data-key": kind}, h("h2", {}, h("a", {href: `#/${kind}`}, WORDS[kind][0])), table(kind, rows),
    total > rows.length && h("p", {}, h("a", {href: `#/${kind}`}, `All ${total}`)));
}

export function table(kind, rows) {
  const hasEnd = kind.endsWith("-jobs");
  return h("table", {class: "rows"},
    h("thead", {}, h("tr", {}, ["Name", "Status", "Created", hasEnd && "Took", ""].filter((one) => one !== false)
      .map((title) => h("th", {scope: "col"}, title)))),
    h("tbody", {}, rows.map((row) => h("tr", {"data-key": row.name},
      h("td", {class: "name"}, link(row.kind, row.name),
        row.tuning && h("span", {class: "quiet"}, " of ", link("tuning-jobs", row.tuning))),
      h("td", {}, badge(row.status)),
      h("td", {}, ago(row.created)),
      hasEnd && h("td", {}, took(row.created, row.ended)),
      h("td", {class: "about"}, h("div", {class: row.status === "Failed" ? "failed" : null}, row.about))))));
}

function empty() {
  const line = `export AWS_ENDPOINT_URL=${location.origin}`;
  return h("section", {class: "empty", "data-key": "empty"}, h("h1", {}, "Nothing has run here yet"),
    h("p", {}, "Paste this line into a shell: every AWS client of that shell then speaks to this server."),
    h("p", {}, copyable(line)),
    h("p", {}, copyable("export AWS_ACCESS_KEY_ID=any AWS_SECRET_ACCESS_KEY=any AWS_DEFAULT_REGION=us-east-1")),
    h("p", {}, "Then start a job, for example with boto3. It appears here by itself."),
    h("pre", {}, EXAMPLE));
}
