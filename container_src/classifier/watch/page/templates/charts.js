// Charts: the pointer and the arrow keys tell values; those over time follow the timeline.
(() => {
  const NS = "http://www.w3.org/2000/svg";
  const element = (name, attributes) => {
    const made = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };
  const nearest = (xs, x) => {
    let low = 0, high = xs.length - 1;
    while (high - low > 1) { const middle = (low + high) >> 1; if (xs[middle] < x) low = middle; else high = middle; }
    return x - xs[low] < xs[high] - x ? low : high;
  };

  function follow(figure) {
    const chart = JSON.parse(figure.dataset.chart), svg = figure.querySelector("svg"), [WIDTH, HEIGHT] = chart.box;
    let [from, to] = chart.x, at = -1;
    const cursor = element("g", {});
    svg.append(cursor);
    const place = (x) => (x - from) / (to - from) * WIDTH;
    const up = (y) => (1 - (y / 2 - chart.y[0] / 2) / (chart.y[1] / 2 - chart.y[0] / 2)) * HEIGHT;

    function tell(x, clientX, clientY) {
      cursor.replaceChildren();
      const lines = chart.lines.filter((line) => line.x.length);
      const first = lines[0].x[nearest(lines[0].x, x)];
      if (first < from || first > to) return page.tell("");
      const said = [chart.kind === "clock" ? `after ${page.words(first)}` : `${chart.title} ${page.digits(first, 7)}`];
      cursor.append(element("line", { class: "cursor", x1: place(first), x2: place(first), y1: 0, y2: HEIGHT }));
      chart.lines.forEach((line, i) => {
        const k = nearest(line.x, first), value = line.y[k];
        said.push(`${line.name}: ${page.digits(value)}${value === null ? "" : chart.unit}`);
        if (value !== null) cursor.append(element("circle", { class: `dot s${i % 8}`, cx: place(line.x[k]), cy: up(value), r: 4.5 }));
      });
      at = nearest(lines[0].x, first);
      page.tell(said.join("\n"), clientX, clientY);
    }
    const clear = () => { cursor.replaceChildren(); page.tell(""); at = -1; };
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect(), [left, , width] = svg.getAttribute("viewBox").split(" ").map(Number);
      const x = from + ((event.clientX - box.left) / box.width * width + left) / WIDTH * (to - from);
      tell(Math.min(to, Math.max(from, x)), event.clientX, event.clientY);
    });
    svg.addEventListener("pointerleave", clear);
    svg.addEventListener("blur", clear);
    svg.addEventListener("keydown", (event) => {
      const xs = chart.lines[0].x, move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!move) return;
      event.preventDefault();
      at = at < 0 ? (move > 0 ? 0 : xs.length - 1) : Math.min(xs.length - 1, Math.max(0, at + move));
      const box = svg.getBoundingClientRect();
      tell(xs[at], box.left + box.width / 2, box.top + box.height / 3);
    });
    if (chart.kind !== "clock") return;
    const moved = svg.querySelector(".moved"), marks = svg.querySelector(".x-marks"), dots = svg.querySelectorAll(":scope > .dot");
    page.watch((view) => {
      const isWhole = view.from === 0 && view.to === page.total;
      [from, to] = [view.from, view.to];
      const scale = page.total / (to - from);
      moved.setAttribute("transform", `translate(${-from / (to - from) * WIDTH} 0) scale(${scale} 1)`);
      dots.forEach((dot) => { dot.style.display = isWhole ? "" : "none"; });
      marks.replaceChildren(...page.clock(from, to, 6).map(([at, text]) => {
        const mark = element("text", { x: place(at), y: HEIGHT + 18, "text-anchor": "middle" });
        mark.textContent = text;
        return mark;
      }));
    });
  }
  page.follow = follow;
  page.element = element;
  document.querySelectorAll(".chart[data-chart]").forEach(follow);
})();
