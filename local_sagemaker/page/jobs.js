// Training jobs with their curves, transform jobs, endpoints, model packages.

import {Chart} from "./chart.js";
import {Detail, places, values} from "./detail.js";
import {h, mount, slot} from "./dom.js";
import {ago, badge, copyable, link, took} from "./format.js";
import {get} from "./server.js";

/** All values of a job's metrics, read on from where the last reading ended. */
export class Values {
  constructor(job) {
    this.job = job;
    this.next = 0;
    this.metrics = new Map(); // name -> [[seconds since 1970, value]]
    this.isRead = false;
  }

  async refresh() {
    let more = true;
    while (more) {
      const answer = await get(`/local/metrics/${encodeURIComponent(this.job)}?from=${this.next}`);
      for (const [name, value, when] of answer.points) {
        if (!this.metrics.has(name)) this.metrics.set(name, []);
        this.metrics.get(name).push([when, value]);
      }
      ({next: this.next, more} = answer);
    }
    this.isRead = true;
  }

  /** The points of a metric, in seconds since `begin`. */
  since(name, begin) {
    return (this.metrics.get(name) ?? []).map(([when, value]) => [Math.round((when - begin) * 1000) / 1000, value]);
  }
}

export class TrainingJob extends Detail {
  constructor(kind, name) {
    super(kind, name);
    this.values = new Values(name);
    this.charts = new Map();
  }

  buttons({record}) {
    if (record.TrainingJobStatus !== "InProgress") return [];
    return [record.EnableManagedSpotTraining && ["interrupt", "Interrupt"], ["stop", "Stop"]].filter(Boolean);
  }

  facts({row, record}) {
    const resources = record.ResourceConfig ?? {};
    const runs = record.TrainingJobStatus === "InProgress";
    return [
      runs && record.SecondaryStatus !== "Training" && ["Now", record.SecondaryStatus],
      record.TrainingStartTime && ["Running", took(record.TrainingStartTime, record.TrainingEndTime)],
      ["Image", h("code", {}, record.AlgorithmSpecification.TrainingImage)],
      ["Instances", resources.InstanceType && `${resources.InstanceCount ?? 1} × ${resources.InstanceType}`],
      record.EnableManagedSpotTraining && ["Spot", "yes"],
      row.tuning && ["Trial of", link("tuning-jobs", row.tuning)],
    ];
  }

  first({record}) {
    const definitions = record.AlgorithmSpecification.MetricDefinitions ?? [];
    const none = record.TrainingJobStatus === "InProgress" ? "No line of the log has matched yet:" : "No line of the log matched:";
    return [
      definitions.length > 0 && h("section", {"data-key": "metrics"}, h("h2", {}, "Metrics"),
        this.values.isRead && this.values.metrics.size === 0 && h("div", {class: "quiet", "data-key": "none"}, none,
          h("pre", {class: "raw"}, definitions.map((one) => `${one.Name}  ${one.Regex}`).join("\n"))),
        slot("charts")),
    ];
  }

  body({record}) {
    const channels = (record.InputDataConfig ?? []).map((channel) =>
      [channel.ChannelName, channel.DataSource.S3DataSource?.S3Uri]);
    return [
      values("Hyperparameters", Object.entries(record.HyperParameters ?? {}).map(([name, value]) => [name, h("code", {}, value)])),
      values("Channels", places(channels)),
      values("Output", places([
        ["Model", record.TrainingJobStatus !== "Failed" && record.ModelArtifacts?.S3ModelArtifacts],
        ["Output location", record.OutputDataConfig?.S3OutputPath],
        ["Checkpoints", record.CheckpointConfig?.S3Uri],
      ])),
      values("History", (record.SecondaryStatusTransitions ?? []).map((one, place) =>
        [`${place + 1}. ${one.Status}`, [took(one.StartTime, one.EndTime), " ", one.StatusMessage]])),
    ];
  }

  async after(root, {record, row}) {
    await this.values.refresh();
    if (this.values.metrics.size) root.querySelector("[data-key=none]")?.remove();
    for (const name of this.values.metrics.keys()) {
      if (!this.charts.has(name)) this.charts.set(name, new Chart(name, {xLabel: "seconds"}));
    }
    this.all ??= h("div", {class: "charts"});
    mount(root, "charts", this.all);
    for (const [name, chart] of this.charts) {
      if (chart.element.parentNode !== this.all) this.all.append(chart.element);
      chart.draw([{name, points: this.values.since(name, record.TrainingStartTime ?? row.created), strong: true}]);
    }
  }
}

export class TransformJob extends Detail {
  buttons({record}) {
    return record.TransformJobStatus === "InProgress" ? [["stop", "Stop"]] : [];
  }

  facts({record}) {
    return [["Model", record.ModelName]];
  }

  body({record}) {
    return [
      values("Places", places([
        ["Input", record.TransformInput?.DataSource?.S3DataSource?.S3Uri],
        ["Output", record.TransformOutput?.S3OutputPath],
      ])),
      values("Environment", Object.entries(record.Environment ?? {}).map(([name, value]) => [name, h("code", {}, value)])),
    ];
  }
}

export class Endpoint extends Detail {
  buttons({record}) {
    return record.EndpointStatus === "Deleting" ? [] : [["delete", "Delete"]];
  }

  facts({record}) {
    return [["Configuration", record.EndpointConfigName], ["Changed", ago(record.LastModifiedTime)]];
  }

  first({record}) {
    const variants = [
      ...(record.ProductionVariants ?? []),
      ...(record.ShadowProductionVariants ?? []).map((one) => ({...one, shadow: true})),
    ];
    const invoke = `aws sagemaker-runtime invoke-endpoint --endpoint-name ${this.name} --body fileb://FILE answer`;
    return [
      record.EndpointStatus !== "Failed" && values("Ask it", [["URL", copyable(`${location.origin}/endpoints/${this.name}/invocations`)], ["Shell", copyable(invoke)]]),
      variants.length > 0 && h("section", {"data-key": "variants"}, h("h2", {}, "Variants"),
        h("table", {class: "rows"},
          h("thead", {}, h("tr", {}, ["Name", "Instances", "Weight", "Image"].map((title) => h("th", {scope: "col"}, title)))),
          h("tbody", {}, variants.map((one) => h("tr", {"data-key": one.VariantName},
            h("td", {class: "name"}, one.VariantName, one.shadow && h("span", {class: "quiet"}, " shadow"),
              (one.VariantStatus ?? []).map((status) => badge(status.Status))),
            h("td", {"data-label": "instances"}, instances(one)),
            h("td", {"data-label": "weight"}, String(one.CurrentWeight ?? "")),
            h("td", {class: "about"}, (one.DeployedImages ?? []).map((image) => image.SpecifiedImage).join(", "))))))),
    ];
  }
}

function instances(variant) {
  if (variant.CurrentServerlessConfig) return `serverless, ${variant.CurrentServerlessConfig.MemorySizeInMB} MB`;
  const {CurrentInstanceCount: now, DesiredInstanceCount: wanted} = variant;
  return now === wanted ? String(now ?? "") : `${now} of ${wanted}`;
}

export class ModelPackage extends Detail {
  facts({record}) {
    return [["Approval", record.ModelApprovalStatus && badge(record.ModelApprovalStatus)],
      ["Group", record.ModelPackageGroupName], ["Description", record.ModelPackageDescription]];
  }

  body({record}) {
    const containers = record.InferenceSpecification?.Containers ?? [];
    return [values("Containers", places(containers.map((one) => [one.Image, one.ModelDataUrl]))),
      values("Metadata", Object.entries(record.CustomerMetadataProperties ?? {}))];
  }
}
