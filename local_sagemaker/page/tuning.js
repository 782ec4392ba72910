// A tuning job: the objective by trial with the best one marked, the trials, and their curves laid over each other.

import {Chart} from "./chart.js";
import {Detail} from "./detail.js";
import {h, mount, slot} from "./dom.js";
import {ago, badge, link, number, took} from "./format.js";
import {Values} from "./jobs.js";

const OVERLAID = 8; // curves that are shown when nobody has chosen: one a colour
const SHOWN = 100; // rows of the table before one asks for all

export class TuningJob extends Detail {
  constructor(kind, name) {
    super(kind, name);
    this.byTrial = new Chart("Objective by trial", {xLabel: "trial"});
    this.curves = new Chart("Curves", {xLabel: "seconds"});
    this.values = new Map();
    this.chosen = null; // names of trials, once somebody has chosen
    this.sort = "number";
    this.shown = SHOWN;
  }

  buttons({record}) {
    return record.HyperParameterTuningJobStatus === "InProgress" ? [["stop", "Stop"]] : [];
  }

  facts({record, trials}) {
    const config = record.HyperParameterTuningJobConfig, objective = this.objective(record);
    const best = this.best(trials, objective);
    const limit = config.ResourceLimits?.MaxNumberOfTrainingJobs;
    return [
      ["Best", best && [link("training-jobs", best.name), ` ${number(best.objective)}`]],
      ["Objective", objective && `${objective.Type} ${objective.MetricName}`],
      ["Strategy", config.Strategy],
      ["Trials", `${trials.filter((one) => one.ended).length} ended, ${trials.filter((one) => !one.ended).length} running`
        + (limit ? `, ${limit} at most` : "")],
      ["Seed", config.RandomSeed],
    ];
  }

  body({record, trials}) {
    if (!trials.length) return [h("p", {class: "quiet"}, "No trial has started yet.")];
    const objective = this.objective(record), best = this.best(trials, objective);
    const tuned = [...new Set(trials.flatMap((one) => Object.keys(one.tuned)))];
    const overlaid = this.overlaid(trials, best);
    const metrics = [...new Set(trials.flatMap((one) => one.metrics))];
    this.metric ??= objective?.MetricName ?? metrics[0];
    return [
      h("section", {"data-key": "charts"}, h("h2", {}, "Search"), slot("by-trial"),
        h("div", {class: "tools"}, h("label", {}, "Curves of ",
          h("select", {"data-input": "metric", "aria-label": "Metric"}, metrics.map((name) =>
            h("option", {value: name, selected: name === this.metric, "data-key": name}, name)))),
        h("span", {class: "quiet"}, "Tick trials in the table to lay their curves over each other.")),
        slot("curves")),
      h("section", {"data-key": "trials"}, h("h2", {}, "Trials"), h("div", {class: "wide"}, h("table", {class: "rows"},
        h("thead", {}, h("tr", {}, h("th", {scope: "col"}, "Curve"), this.header("number", "Trial"), h("th", {scope: "col"}, "Status"),
          this.header("objective", objective?.MetricName ?? "Objective"),
          tuned.map((name) => h("th", {scope: "col", "data-key": `tuned ${name}`}, name)), h("th", {scope: "col"}, "Started"), h("th", {scope: "col"}, "Took"))),
        h("tbody", {}, this.sorted(trials, objective).slice(0, this.shown).map((one) =>
          h("tr", {"data-key": one.name, class: one === best ? "best" : null},
            h("td", {}, h("input", {type: "checkbox", "data-input": `curve ${one.name}`, "aria-label": `Curve of trial ${one.number}`,
              checked: overlaid.includes(one)})),
            h("td", {class: "name"}, h("a", {href: `#/training-jobs/${encodeURIComponent(one.name)}`, title: one.name}, `${one.number}`),
              one === best && h("strong", {}, " best")),
            h("td", {}, badge(one.status)),
            h("td", {class: "value"}, one.objective === null ? "" : number(one.objective)),
            tuned.map((name) => h("td", {class: "value", "data-key": `tuned ${name}`}, short(one.tuned[name]))),
            h("td", {}, ago(one.created)), h("td", {}, took(one.created, one.ended))))))),
        trials.length > this.shown && h("button", {"data-act": "all"}, `All ${trials.length} trials`)),
    ];
  }

  header(name, text) {
    return h("th", {scope: "col", "aria-sort": this.sort === name ? "ascending" : null},
      h("button", {class: "plain", "data-act": name}, text));
  }

  async after(root, {record, trials}) {
    if (!trials.length) return;
    const objective = this.objective(record), best = this.best(trials, objective);
    mount(root, "by-trial", this.byTrial.element);
    mount(root, "curves", this.curves.element);
    const known = trials.filter((one) => one.objective !== null);
    const better = objective?.Type === "Minimize" ? Math.min : Math.max;
    let soFar;
    this.byTrial.draw([
      {name: objective?.MetricName ?? "objective", dots: true, points: known.map((one) => [one.number, one.objective]), best: known.indexOf(best)},
      {name: "best so far", dots: false, points: known.map((one) => [one.number, soFar = soFar === undefined ? one.objective : better(soFar, one.objective)])},
    ]);
    const overlaid = this.overlaid(trials, best);
    await Promise.all(overlaid.map((one) => this.read(one)));
    this.curves.draw(overlaid.map((one) => ({
      name: `trial ${one.number}`, strong: one === best, points: this.values.get(one.name).values.since(this.metric, one.created),
    })));
  }

  /** The values of a trial; of one that has ended they are read once. */
  async read(trial) {
    const entry = this.values.get(trial.name) ?? {values: new Values(trial.name), whole: false};
    this.values.set(trial.name, entry);
    if (entry.whole) return;
    const ended = trial.ended !== null;
    await entry.values.refresh();
    entry.whole = ended;
  }

  overlaid(trials, best) {
    if (this.chosen) return trials.filter((one) => this.chosen.has(one.name));
    const newest = trials.slice(-OVERLAID);
    return best && !newest.includes(best) ? [best, ...newest.slice(1)] : newest;
  }

  input(name, value, checked) {
    if (name === "metric") this.metric = value;
    else {
      const boxes = document.querySelectorAll('input[data-input^="curve "]');
      this.chosen ??= new Set([...boxes].filter((box) => box.checked).map((box) => box.dataset.input.slice(6)));
      this.chosen[checked ? "add" : "delete"](name.slice(6));
    }
  }

  act(name) {
    if (name === "all") this.shown = Infinity;
    else this.sort = name;
  }

  sorted(trials, objective) {
    if (this.sort === "number") return trials;
    const sign = objective?.Type === "Minimize" ? 1 : -1;
    return [...trials].sort((a, b) => (a.objective === null) - (b.objective === null) || sign * (a.objective - b.objective));
  }

  objective(record) {
    return record.HyperParameterTuningJobConfig.HyperParameterTuningJobObjective
      ?? record.TrainingJobDefinition?.TuningObjective ?? null;
  }

  best(trials, objective) {
    const sign = objective?.Type === "Minimize" ? -1 : 1;
    return trials.filter((one) => one.objective !== null)
      .reduce((a, b) => (a === null || sign * b.objective > sign * a.objective ? b : a), null);
  }
}

function short(text) {
  if (text === undefined) return "";
  return text !== "" && Number.isFinite(Number(text)) ? number(Number(text)) : text;
}
