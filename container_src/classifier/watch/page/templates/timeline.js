// The steps of every rank on one clock, to be zoomed; the heat maps of cores and GPUs go along.
(() => {
  const canvas = document.getElementById("steps");
  const { parts, ranks: packed, marks } = page.data.timeline, total = page.total, view = page.view;
  const PARTS = { wait: "wait for data", copy: "host to device", forward: "forward", backward: "backward", optimizer: "optimizer" };
  const LEFT = 56, TOP = 20, AXIS = 20, GAP = 16;
  const unpack = (text, kind) => new kind(Uint8Array.from(atob(text), (c) => c.charCodeAt(0)).buffer);
  const ranks = packed.map((rank) => ({
    ...rank, at: unpack(rank.at, Float64Array), width: unpack(rank.width, Float32Array), slowest: unpack(rank.slowest, Float32Array),
    means: unpack(rank.means, Float32Array), number: unpack(rank.number, Uint32Array), epoch: unpack(rank.epoch, Uint32Array),
  }));
  const after = (values, x) => { // how many are at or before x
    let low = 0, high = values.length;
    while (low < high) { const middle = (low + high) >> 1; if (values[middle] <= x) low = middle + 1; else high = middle; }
    return low;
  };

  if (canvas) steps();
  document.querySelectorAll("[data-heat]").forEach(heat);

  function steps() {
    const whole = document.getElementById("whole"), said = document.getElementById("window");
    const lane = ranks.length > 8 ? 46 : ranks.length > 2 ? 70 : ranks.length > 1 ? 100 : 170;
    let box, selecting = null, shown = -1;
    const x = (at) => LEFT + (at - view.from) / (view.to - view.from) * (box.width - LEFT);
    const time = (px) => view.from + (px - LEFT) / (box.width - LEFT) * (view.to - view.from);

    function draw() {
      box = page.fitted(canvas, TOP + ranks.length * (lane + GAP) + AXIS);
      const { context } = box, colours = Object.fromEntries([...parts, "initialization", "evaluation", "checkpoint", "soft", "ink", "rule", "best", "bad", "blue"].map((name) => [name, page.colour(name)]));
      context.clearRect(0, 0, box.width, box.height);
      for (const [at, text] of page.clock(view.from, view.to, Math.max(3, box.width / 110))) {
        context.fillStyle = colours.rule;
        context.fillRect(x(at), TOP, 1, box.height - TOP - AXIS);
        context.fillStyle = colours.soft;
        context.textAlign = x(at) > box.width - 24 ? "right" : "center";
        context.fillText(text, x(at), box.height - 5);
      }
      ranks.forEach((rank, i) => drawLane(rank, TOP + i * (lane + GAP), colours));
      for (const [at, rule, severity] of marks) {
        if (at < view.from || at > view.to) continue;
        const here = x(at);
        context.fillStyle = severity === "error" ? colours.bad : colours.best;
        context.beginPath();
        context.moveTo(here - 5, 2); context.lineTo(here + 5, 2); context.lineTo(here, 11);
        context.fill();
      }
      if (shown >= view.from && shown <= view.to) { context.fillStyle = colours.ink; context.fillRect(x(shown) - 0.5, 2, 1, box.height - AXIS); }
      if (selecting) {
        context.globalAlpha = 0.25;
        context.fillStyle = colours.blue;
        context.fillRect(Math.min(selecting.from, selecting.to), TOP, Math.abs(selecting.to - selecting.from), box.height - TOP - AXIS);
        context.globalAlpha = 1;
      }
      drawWhole(colours);
      const first = ranks[0], a = Math.max(0, after(first.at, view.from) - 1), b = after(first.at, view.to) - 1;
      said.textContent = `${page.words(view.from)} to ${page.words(view.to)}` + (b >= a && first.number.length ? `, steps ${first.number[a]} to ${Math.min(first.number[b] + first.each - 1, first.number[first.number.length - 1] + first.each - 1)}` : "");
    }

    function drawLane(rank, top, colours) {
      const { context } = box, count = rank.at.length;
      const from = Math.max(0, after(rank.at, view.from) - 1), to = after(rank.at, view.to);
      // What is far above the others would flatten them: it is cut, and its head shows that.
      const tops = Array.from(rank.slowest.subarray(from, to)).sort((a, b) => a - b);
      const most = Math.max(1e-9, Math.min(tops[tops.length - 1] || 1e-9, 4 * (tops[Math.floor(tops.length * 0.9)] || 1e-9)));
      const tall = (seconds) => Math.min(1, seconds / most) * lane;
      context.save();
      context.beginPath();
      context.rect(LEFT, top - 8, box.width - LEFT, lane + 9);
      context.clip();
      for (const [name, epoch, began, seconds] of rank.spans) {
        if (began > view.to || began + seconds < view.from) continue;
        const left = x(began), wide = Math.max(1, x(began + seconds) - left);
        context.globalAlpha = 0.55;
        context.fillStyle = colours[name] || colours.rule;
        context.fillRect(left, top, wide, lane);
        context.globalAlpha = 1;
        const label = epoch ? `${name} ${epoch}` : name, seen = Math.max(left, LEFT);
        if (left + wide - seen > context.measureText(label).width + 10) {
          context.fillStyle = colours.ink;
          context.textAlign = "left";
          context.fillText(label, seen + 5, top + 14);
        }
      }
      // Bars that fall onto one pixel are drawn as their mean, with the slowest of them above.
      let k = from;
      while (k < to) {
        const left = x(rank.at[k]);
        let last = k;
        while (last + 1 < to && x(rank.at[last + 1] + rank.width[last + 1]) - left < 1.5) last++;
        const right = Math.max(left + 1, x(rank.at[last] + rank.width[last]) - (x(rank.width[k] + view.from) - LEFT > 4 ? 1 : 0));
        let below = top + lane, slowest = 0;
        for (let part = 0; part < parts.length; part++) {
          let sum = 0;
          for (let n = k; n <= last; n++) sum += rank.means[n * parts.length + part];
          const high = tall(sum / (last - k + 1));
          const to = Math.max(top, below - high);
          context.fillStyle = colours[parts[part]];
          context.fillRect(left, to, right - left, below - to);
          below = to;
        }
        for (let n = k; n <= last; n++) slowest = Math.max(slowest, rank.slowest[n]);
        const peak = top + lane - tall(slowest);
        if (below - peak > 2) { context.fillStyle = colours.soft; context.globalAlpha = 0.7; context.fillRect((left + right) / 2 - 0.5, peak, 1, below - peak); context.globalAlpha = 1; }
        if (slowest > most * 1.001) {
          context.fillStyle = colours.bad;
          context.beginPath();
          context.moveTo((left + right) / 2 - 4, top - 1); context.lineTo((left + right) / 2 + 4, top - 1); context.lineTo((left + right) / 2, top - 7);
          context.fill();
        }
        k = last + 1;
      }
      context.restore();
      context.fillStyle = colours.rule;
      context.fillRect(LEFT, top + lane, box.width - LEFT, 1);
      context.fillStyle = colours.soft;
      context.textAlign = "right";
      if (count) { context.fillText(page.words(most), LEFT - 6, top + 10); context.fillText("0", LEFT - 6, top + lane); }
      context.textAlign = "left";
      if (ranks.length > 1) context.fillText(`rank ${rank.rank}`, 0, top + lane / 2 + 4);
    }

    function drawWhole(colours) {
      const { context, width, height } = page.fitted(whole, 34);
      const at = (s) => s / total * width;
      for (const [name, , began, seconds] of ranks[0].spans) { context.fillStyle = colours[name] || colours.rule; context.fillRect(at(began), 0, Math.max(0.5, at(seconds)), height); }
      const most = ranks[0].slowest.reduce((a, b) => Math.max(a, b), 1e-9);
      context.fillStyle = colours.forward;
      ranks[0].at.forEach((began, i) => { const high = ranks[0].slowest[i] / most * height; context.fillRect(at(began), height - high, Math.max(1, at(ranks[0].width[i])), high); });
      context.fillStyle = page.colour("paper");
      context.globalAlpha = 0.65;
      context.fillRect(0, 0, at(view.from), height);
      context.fillRect(at(view.to), 0, width, height);
      context.globalAlpha = 1;
      context.strokeStyle = colours.ink;
      context.lineWidth = 2;
      context.strokeRect(Math.min(at(view.from) + 1, width - 5), 1, Math.max(3, at(view.to - view.from) - 2), height - 2);
    }

    function describe(px, py) {
      const at = time(px);
      if (py < TOP - 4) {
        const near = marks.filter((mark) => Math.abs(x(mark[0]) - px) < 6);
        return near.slice(0, 4).map(([when, rule, , detail]) => `${rule} after ${page.words(when)}: ${detail}`).join("\n") + (near.length > 4 ? `\nand ${near.length - 4} more` : "");
      }
      const rank = ranks[Math.floor((py - TOP + GAP / 2) / (lane + GAP))];
      if (!rank || px < LEFT) return "";
      const i = after(rank.at, at) - 1, slack = time(px + 1) - at, lines = ranks.length > 1 ? [`rank ${rank.rank} on ${rank.host}`] : [];
      if (i >= 0 && at <= rank.at[i] + rank.width[i] + slack) {
        const values = parts.map((part, p) => rank.means[i * parts.length + p]), sum = values.reduce((a, b) => a + b, 0);
        lines.push(rank.each > 1 && rank.number.length > 1 ? `steps ${rank.number[i]} to ${rank.number[i] + rank.each - 1} (epoch ${rank.epoch[i]}): ${page.words(sum)} each, the slowest ${page.words(rank.slowest[i])}` : `step ${rank.number[i]} (epoch ${rank.epoch[i]}): ${page.words(sum)}`);
        parts.forEach((part, p) => lines.push(`${PARTS[part]}: ${page.words(values[p])}, ${Math.round(100 * values[p] / (sum || 1))} %`));
        return lines.join("\n");
      }
      const span = rank.spans.find(([, , began, seconds]) => at >= began && at <= began + seconds);
      if (span) lines.push(`${span[0]}${span[1] ? ` of epoch ${span[1]}` : ""}: ${page.words(span[3])}`);
      return span ? lines.join("\n") : "";
    }

    const zoom = (factor, centre = (view.from + view.to) / 2) => page.show(centre - (centre - view.from) * factor, centre + (view.to - centre) * factor);
    const move = (share) => { const by = share * (view.to - view.from); page.show(view.from + by, view.to + by); };
    function slowest() {
      let best = null;
      for (const rank of ranks) rank.slowest.forEach((seconds, i) => { if (!best || seconds > best.seconds) best = { seconds, at: rank.at[i], width: rank.width[i] }; });
      if (best) { shown = -1; page.show(best.at - 3 * best.width, best.at + 4 * best.width); }
    }
    const actions = { in: () => zoom(0.5), out: () => zoom(2), left: () => move(-0.25), right: () => move(0.25), all: () => page.show(0, total), slowest };
    document.querySelectorAll("[data-zoom]").forEach((button) => button.addEventListener("click", actions[button.dataset.zoom]));
    canvas.addEventListener("keydown", (event) => {
      const action = { "+": "in", "=": "in", ArrowUp: "in", "-": "out", _: "out", ArrowDown: "out", ArrowLeft: "left", ArrowRight: "right", 0: "all", Home: "all" }[event.key];
      if (!action || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      actions[action]();
    });
    canvas.addEventListener("wheel", (event) => {
      if (!(event.ctrlKey || event.metaKey || document.activeElement === canvas)) return;
      event.preventDefault();
      zoom(Math.exp(Math.max(-100, Math.min(100, event.deltaY)) * 0.005), time(Math.max(LEFT, event.offsetX)));
    }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.focus({ preventScroll: true });
      canvas.setPointerCapture(event.pointerId);
      selecting = { from: Math.max(LEFT, event.offsetX), to: Math.max(LEFT, event.offsetX) };
    });
    canvas.addEventListener("pointermove", (event) => {
      if (selecting) { selecting.to = Math.min(box.width, Math.max(LEFT, event.offsetX)); draw(); }
      page.tell(describe(event.offsetX, event.offsetY), event.clientX, event.clientY);
    });
    canvas.addEventListener("pointerup", () => {
      const taken = selecting;
      selecting = null;
      if (taken && Math.abs(taken.to - taken.from) > 4) page.show(time(Math.min(taken.from, taken.to)), time(Math.max(taken.from, taken.to)));
      else draw();
    });
    canvas.addEventListener("pointercancel", () => { selecting = null; draw(); });
    canvas.addEventListener("pointerleave", () => page.tell(""));
    canvas.addEventListener("dblclick", (event) => zoom(0.3, time(event.offsetX)));
    let held = null;
    whole.addEventListener("pointerdown", (event) => {
      whole.setPointerCapture(event.pointerId);
      const at = event.offsetX / whole.clientWidth * total, span = view.to - view.from;
      held = at >= view.from && at <= view.to ? at - view.from : span / 2;
      page.show(at - held, at - held + span);
    });
    whole.addEventListener("pointermove", (event) => {
      if (held === null) return;
      const from = event.offsetX / whole.clientWidth * total - held;
      page.show(from, from + view.to - view.from);
    });
    ["pointerup", "pointercancel"].forEach((kind) => whole.addEventListener(kind, () => { held = null; }));
    document.querySelectorAll("[data-show]").forEach((button) => button.addEventListener("click", () => {
      shown = Number(button.dataset.show);
      const i = Math.max(0, after(ranks[0].at, shown) - 1), around = Math.max(10 * (ranks[0].width[i] || 0), total * 1e-3);
      page.show(shown - around, shown + around);
      document.getElementById("timeline").scrollIntoView({ behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
    }));
    page.watch(draw);
    page.repainted(draw);
  }

  function heat(figure) {
    const { rows, columns, levels: text } = JSON.parse(figure.dataset.heat), canvas = figure.querySelector("canvas");
    const GUTTER = 56, levels = Uint8Array.from(atob(text), (c) => c.charCodeAt(0)), AXIS = 18;
    const high = Math.min(260, Math.max(rows.length * 4, Math.min(24, 140 / rows.length) * rows.length));
    const picture = document.createElement("canvas");
    picture.width = columns;
    picture.height = rows.length;
    const pixels = new ImageData(columns, rows.length);
    levels.forEach((level, i) => {
      if (level === 255) return;
      const colour = parseInt(page.data.colours[level], 16);
      pixels.data.set([colour >> 16, (colour >> 8) & 255, colour & 255, 255], 4 * i);
    });
    picture.getContext("2d").putImageData(pixels, 0, 0);
    let box;
    function draw() {
      box = page.fitted(canvas, high + AXIS);
      const { context } = box, { from, to } = page.view;
      context.imageSmoothingEnabled = false;
      context.drawImage(picture, from / total * columns, 0, (to - from) / total * columns, rows.length, GUTTER, 0, box.width - GUTTER, high);
      context.fillStyle = page.colour("soft");
      context.textAlign = "right";
      const each = Math.ceil(14 / (high / rows.length));
      for (let i = 0; i < rows.length; i += each) context.fillText(rows[i], GUTTER - 6, (i + 0.5) * high / rows.length + 4);
      for (const [at, text] of page.clock(from, to, Math.max(3, box.width / 110))) {
        const x = GUTTER + (at - from) / (to - from) * (box.width - GUTTER);
        context.textAlign = x > box.width - 24 ? "right" : "center";
        context.fillText(text, x, high + 14);
      }
    }
    canvas.addEventListener("pointermove", (event) => {
      const at = page.view.from + (event.offsetX - GUTTER) / (box.width - GUTTER) * (page.view.to - page.view.from);
      const row = Math.floor(event.offsetY / high * rows.length), column = Math.min(columns - 1, Math.floor(at / total * columns));
      const level = levels[row * columns + column];
      page.tell(row >= rows.length || at < page.view.from ? "" : `${rows[row]} after ${page.words(at)}: ${level === 255 ? "not read" : `${Math.round(level / 2.54)} %`}`, event.clientX, event.clientY);
    });
    canvas.addEventListener("pointerleave", () => page.tell(""));
    page.watch(draw);
    page.repainted(draw);
  }
})();
