// The page: which view the address names, its refreshing once a second, the buttons that ask first.

import {h, patch} from "./dom.js";
import {WORDS, tick} from "./format.js";
import {Endpoint, ModelPackage, TrainingJob, TransformJob} from "./jobs.js";
import {Front, List} from "./list.js";
import {forget, get, perform, post} from "./server.js";
import {TuningJob} from "./tuning.js";

const EVERY_MS = 1000;
const DETAILS = {
  "training-jobs": TrainingJob, "tuning-jobs": TuningJob, "endpoints": Endpoint, "transform-jobs": TransformJob,
  "model-packages": ModelPackage,
};
const NAMES = {
  "training-jobs": ["StopTrainingJob", "TrainingJobName"],
  "tuning-jobs": ["StopHyperParameterTuningJob", "HyperParameterTuningJobName"],
  "transform-jobs": ["StopTransformJob", "TransformJobName"],
  "endpoints": ["DeleteEndpoint", "EndpointName"],
};
const CONSEQUENCES = {
  stop: "It gets SIGTERM; what it has written to its model directory is kept.",
  interrupt: "Its spot instance is taken away; it starts again from its checkpoints.",
  delete: "Its containers end; its model and its configuration stay.",
};
const main = document.getElementById("main"), tabs = document.getElementById("tabs"), live = document.getElementById("live");
const ask = document.getElementById("ask");
let view, refreshing = false, again = false;

function viewOf(address) {
  const [kind, name] = address.replace(/^#?\/?/, "").split("/").map(decodeURIComponent);
  if (name && kind in DETAILS) return new DETAILS[kind](kind, name);
  return kind in WORDS ? new List(kind) : new Front();
}

function show() {
  view = viewOf(location.hash);
  forget();
  document.title = `${view.title} · local SageMaker`;
  const root = h("div", {class: "view"});
  view.root = root;
  main.replaceChildren(root);
  refresh();
}

/** One refreshing at a time; what is asked for meanwhile comes after it. */
async function refresh() {
  if (refreshing) {
    again = true;
    return;
  }
  refreshing = true;
  try {
    const one = view;
    const counts = await one.refresh(one.root) ?? (await get("/local/list/training-jobs?limit=0")).counts;
    showTabs(counts);
    say("live", "good");
  } catch (error) {
    if (!(error instanceof TypeError)) console.error(error); // TypeError: nobody answers
    say(error instanceof TypeError ? "the server does not answer" : error.message, "bad");
  } finally {
    refreshing = false;
  }
  if (again) {
    again = false;
    await refresh();
  }
}

function say(text, tone) {
  if (live.textContent !== text) live.textContent = text;
  live.className = tone;
}

function showTabs(counts) {
  const there = Object.keys(WORDS).filter((kind) => !["transform-jobs", "model-packages"].includes(kind) || sum(counts[kind]));
  patch(tabs, there.map((kind) => h("a", {
    href: `#/${kind}`, "data-key": kind, "aria-current": location.hash.startsWith(`#/${kind}`) ? "page" : null,
  }, WORDS[kind][0], h("span", {class: "count"}, String(sum(counts[kind]))))));
}

const sum = (byStatus) => Object.values(byStatus).reduce((a, b) => a + b, 0);

function confirmed(what, button) {
  document.getElementById("ask-what").textContent = what;
  document.getElementById("ask-error").textContent = "";
  document.getElementById("ask-yes").textContent = button;
  ask.returnValue = "no";
  ask.showModal();
}

let pending = null;
ask.querySelector("form").addEventListener("submit", async (event) => {
  if (event.submitter.value !== "yes") return;
  event.preventDefault();
  try {
    await pending();
    ask.close("yes");
    await refresh();
  } catch (error) {
    document.getElementById("ask-error").textContent = error.message;
  }
});

main.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (button?.dataset.ask) {
    const {kind, name} = view, action = button.dataset.ask, [operation, member] = NAMES[kind];
    pending = () => action === "interrupt"
      ? post(`/local/interrupt/${encodeURIComponent(name)}`, {}) : perform(operation, {[member]: name});
    confirmed(`${button.textContent} the ${WORDS[kind][1]} ${name}? ${CONSEQUENCES[action]}`, button.textContent);
  } else if (button?.dataset.act) {
    view.act(button.dataset.act);
    refresh();
  } else if (button?.dataset.copy) {
    await navigator.clipboard.writeText(button.dataset.copy);
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  }
});
main.addEventListener("input", (event) => {
  const {dataset, value, checked} = event.target;
  if (!dataset.input) return;
  view.input(dataset.input, value, checked);
  refresh();
});
addEventListener("hashchange", show);
document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
setInterval(() => {
  tick();
  if (!document.hidden) refresh();
}, EVERY_MS);
show();
