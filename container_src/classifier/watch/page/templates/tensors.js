// One tensor's distribution: its mean with a standard deviation to either side, its smallest and its largest value.
(() => {
  const choice = document.getElementById("tensor");
  if (!choice) return;
  const tensors = page.data.tensors, names = Object.keys(tensors), place = document.getElementById("tensor-chart");
  // As wide as its place, so that its text is as large as the other charts'.
  const WIDTH = innerWidth < 760 ? 480 : 980, HEIGHT = innerWidth < 760 ? 180 : 260;
  const groups = {};
  // What is learned from comes first.
  const rank = (name) => { const i = ["gradients", "weights", "biases"].indexOf(tensors[name].collection); return i < 0 ? 3 : i; };
  for (const name of names.sort((a, b) => rank(a) - rank(b))) {
    const { collection } = tensors[name];
    if (!groups[collection]) {
      groups[collection] = document.createElement("optgroup");
      groups[collection].label = collection;
      choice.append(groups[collection]);
    }
    groups[collection].append(new Option(name, name));
  }
  const order = [...choice.options].map((option) => option.value);

  function draw() {
    const tensor = tensors[choice.value], steps = tensor.steps;
    const edge = (sign) => tensor.mean.map((m, i) => m === null || tensor.std[i] === null ? null : m + sign * tensor.std[i]);
    const low = edge(-1), high = edge(1);
    const known = [...tensor.min, ...tensor.max, ...low, ...high, ...tensor.mean].filter((v) => v !== null);
    document.getElementById("tensor-note").textContent = `${tensor.collection}, ${order.indexOf(choice.value) + 1} of ${order.length}`;
    if (!known.length) { place.textContent = "None of its values was a number."; return; }
    let y0 = known.reduce((a, b) => Math.min(a, b)), y1 = known.reduce((a, b) => Math.max(a, b));
    const room = (y1 / 2 - y0 / 2) * 0.1 || Math.abs(y1) * 0.1 || 1;
    y0 -= room; y1 += room;
    let [x0, x1] = [steps[0], steps[steps.length - 1]];
    if (x0 === x1) { x0 -= 1; x1 += 1; }
    const at = (i, v) => `${((steps[i] - x0) / (x1 - x0) * WIDTH).toFixed(1)},${((1 - (v / 2 - y0 / 2) / (y1 / 2 - y0 / 2)) * HEIGHT).toFixed(1)}`;
    const path = (values) => { let pen = "M"; return values.map((v, i) => { if (v === null) { pen = "M"; return ""; } const here = pen + at(i, v); pen = "L"; return here; }).join(""); };
    const edges = low.flatMap((v, i) => v === null ? [] : [i]);
    const band = edges.length ? `M${edges.map((i) => at(i, high[i])).join("L")}L${edges.reverse().map((i) => at(i, low[i])).join("L")}Z` : "";
    const line = (name, values) => ({ name, x: steps, y: values });
    const figure = document.createElement("figure"), svg = page.element("svg", { viewBox: `-56 -10 ${WIDTH + 70} ${HEIGHT + 40}`, role: "img", tabindex: 0, "aria-label": `mean, standard deviation, minimum and maximum of ${choice.value} by step` });
    figure.className = "chart";
    figure.dataset.chart = JSON.stringify({ kind: "epoch", box: [WIDTH, HEIGHT], title: "step", unit: "", x: [x0, x1], y: [y0, y1], lines: [line("mean", tensor.mean), line("max", tensor.max), line("min", tensor.min), line("std", tensor.std)] });
    const text = (x, y, anchor, content) => { const made = page.element("text", { x, y, "text-anchor": anchor }); made.textContent = content; return made; };
    for (const [v, said] of page.numbers(y0, y1, 5)) {
      const y = (1 - (v / 2 - y0 / 2) / (y1 / 2 - y0 / 2)) * HEIGHT;
      svg.append(page.element("line", { class: "axis", x1: 0, x2: WIDTH, y1: y, y2: y }), text(-7, y + 4, "end", said));
    }
    for (const [s, said] of page.numbers(x0, x1, 8, true)) svg.append(text((s - x0) / (x1 - x0) * WIDTH, HEIGHT + 18, "middle", said));
    svg.append(page.element("path", { class: "band s0", d: band }), page.element("path", { class: "line s0", d: path(tensor.mean) }), page.element("path", { class: "line s1", d: path(tensor.max) }), page.element("path", { class: "line s2", d: path(tensor.min) }));
    if (steps.length <= 30) {
      [tensor.mean, tensor.max, tensor.min].forEach((values, i) => values.forEach((v, k) => {
        if (v === null) return;
        const [cx, cy] = at(k, v).split(",");
        if (i === 0 && low[k] !== null) svg.append(page.element("line", { class: "whisker s0", x1: cx, x2: cx, y1: at(k, low[k]).split(",")[1], y2: at(k, high[k]).split(",")[1] }));
        svg.append(page.element("circle", { class: `dot s${i}`, cx, cy, r: 3 }));
      }));
    }
    figure.append(svg);
    const legend = document.createElement("ul");
    legend.className = "legend";
    ["mean, shaded to ± std", "max", "min"].forEach((said, i) => { const item = document.createElement("li"); item.className = `s${i}`; item.textContent = said; legend.append(item); });
    figure.append(legend);
    place.replaceChildren(figure);
    page.follow(figure);
  }
  const turn = (by) => { choice.value = order[(order.indexOf(choice.value) + by + order.length) % order.length]; draw(); };
  document.getElementById("tensor-before").addEventListener("click", () => turn(-1));
  document.getElementById("tensor-after").addEventListener("click", () => turn(1));
  choice.addEventListener("change", draw);
  choice.value = order[0];
  draw();
})();
