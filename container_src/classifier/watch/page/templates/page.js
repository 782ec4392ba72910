"use strict";
const page = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const tip = document.getElementById("tip");

  // light-dark() is resolved in a property that is a colour, not in a custom one.
  const probe = document.body.appendChild(document.createElement("span"));
  probe.hidden = true;
  const colour = (name) => { probe.style.color = `var(--${name})`; return getComputedStyle(probe).color; };
  const repaints = [];
  const repainted = (paint) => { repaints.push(paint); paint(); };
  const repaint = () => repaints.forEach((paint) => paint());
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", repaint);
  let asked = 0;
  addEventListener("resize", () => { cancelAnimationFrame(asked); asked = requestAnimationFrame(repaint); });

  // The context of a canvas that is as wide as its place and `height` high, in CSS pixels.
  function fitted(canvas, height) {
    const width = canvas.clientWidth, scale = devicePixelRatio || 1;
    canvas.style.height = `${height}px`;
    canvas.width = Math.max(1, Math.round(width * scale));
    canvas.height = Math.max(1, Math.round(height * scale));
    const context = canvas.getContext("2d");
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.font = "12px system-ui, sans-serif";
    return { context, width, height };
  }

  function tell(text, x, y) {
    tip.textContent = text;
    tip.hidden = !text;
    if (!text) return;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(4, x + 14 + width > innerWidth ? x - width - 14 : x + 14)}px`;
    tip.style.top = `${Math.max(4, y + 14 + height > innerHeight ? y - height - 14 : y + 14)}px`;
  }
  addEventListener("scroll", () => tell(""), { passive: true });

  const digits = (value, count = 4) => value === null ? "–" : String(Number(value.toPrecision(count)));
  function words(seconds) {
    if (seconds === 0) return "0 s";
    if (seconds < 0.0995) return `${digits(seconds * 1000, 3)} ms`;
    if (seconds < 9.95) return `${seconds.toFixed(2)} s`;
    const whole = Math.round(seconds);
    if (whole < 60) return `${whole} s`;
    if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
    return `${Math.floor(whole / 3600)} h ${Math.floor(whole / 60) % 60} min`;
  }
  const CLOCK = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400];
  function step(rough) {
    const power = 10 ** Math.floor(Math.log10(rough));
    return [1, 2, 5, 10].map((factor) => factor * power).find((s) => s >= rough * (1 - 1e-9));
  }
  function steps(low, high, each) {
    const marks = [];
    for (let i = Math.ceil(low / each - 1e-9); i * each <= high + each * 1e-9 && marks.length < 40; i++) marks.push(i * each);
    return marks;
  }
  function instant(at, each = 1) {
    if (each < 1) return `${at.toFixed(Math.min(6, Math.ceil(-Math.log10(each) - 1e-9)))} s`;
    const s = Math.round(at), two = (n) => String(n).padStart(2, "0");
    if (s < 60) return `${s} s`;
    return s < 3600 ? `${Math.floor(s / 60)}:${two(s % 60)}` : `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
  }
  // [[seconds, text], ...]
  function clock(low, high, most) {
    const rough = (high - low) / most;
    const each = rough > 0.5 ? CLOCK.find((s) => s >= rough) || step(rough) : step(rough);
    return steps(low, high, each).map((at) => [at, instant(at, each)]);
  }
  const numbers = (low, high, most, whole) => {
    const each = whole ? Math.max(1, step((high - low) / most)) : step((high - low) / most);
    return steps(low, high, each).map((at) => [at, digits(at)]);
  };

  // The stretch of the run that is shown, in seconds since it began; whoever draws it is told when it changes.
  const total = data.timeline.total, watchers = [];
  const view = { from: 0, to: total };
  function show(from, to) {
    const span = Math.min(total, Math.max(to - from, total * 1e-6, 1e-4));
    view.from = Math.min(Math.max(0, from), total - span);
    view.to = view.from + span;
    watchers.forEach((watcher) => watcher(view));
  }
  const watch = (watcher) => watchers.push(watcher);

  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = head.textContent;
      head.replaceChildren(button);
      const isNumber = head.classList.contains("n");
      const key = (row) => {
        const cell = row.cells[column], told = cell.dataset.v ?? cell.textContent;
        return isNumber ? (told === "" || told === "None" ? -Infinity : Number(told)) : told.toLowerCase();
      };
      button.addEventListener("click", () => {
        const before = head.getAttribute("aria-sort");
        const order = before ? (before === "descending" ? "ascending" : "descending") : isNumber ? "descending" : "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        const rows = [...body.rows].map((row) => [key(row), row]);
        rows.sort(([a], [b]) => sign * (a < b ? -1 : a > b ? 1 : 0));
        body.append(...rows.map(([, row]) => row));
      });
    });
  }

  let opened = [];
  addEventListener("beforeprint", () => {
    opened = [...document.querySelectorAll("details:not([open])")];
    opened.forEach((details) => { details.open = true; });
  });
  addEventListener("afterprint", () => opened.forEach((details) => { details.open = false; }));

  return { data, colour, repainted, fitted, tell, digits, words, clock, numbers, instant, total, view, show, watch };
})();
