// A confusion matrix of many classes: the cell under the pointer, or where the arrow keys are, is told.
(() => {
  const canvas = document.getElementById("matrix");
  if (!canvas) return;
  const { classes, cells } = page.data.confusion, n = classes.length, said = document.getElementById("cell"), before = said.textContent;
  const rows = classes.map(() => new Map()), totals = new Array(n).fill(0);
  for (const [i, j, count] of cells) { rows[i].set(j, count); totals[i] += count; }
  let box, at = null;
  function draw() {
    box = page.fitted(canvas, canvas.clientWidth);
    const { context, width } = box, cell = width / n, right = page.colour("c0"), wrong = page.colour("wait");
    context.clearRect(0, 0, width, width);
    context.fillStyle = page.colour("rule");
    for (let i = 10; i < n; i += 10) { context.fillRect(i * cell, 0, 0.5, width); context.fillRect(0, i * cell, width, 0.5); }
    for (const [i, j, count] of cells) {
      context.globalAlpha = 0.15 + 0.85 * Math.sqrt(count / totals[i]);
      context.fillStyle = i === j ? right : wrong;
      context.fillRect(j * cell, i * cell, Math.max(1, cell - (cell > 4 ? 0.5 : 0)), Math.max(1, cell - (cell > 4 ? 0.5 : 0)));
    }
    context.globalAlpha = 1;
    if (!at) return;
    context.strokeStyle = page.colour("ink");
    context.lineWidth = 1;
    context.strokeRect(0, at.row * cell, width, cell);
    context.strokeRect(at.column * cell, 0, cell, width);
    context.lineWidth = 2.5;
    context.strokeRect(at.column * cell - 1, at.row * cell - 1, cell + 2, cell + 2);
  }
  function tell(row, column) {
    at = { row: Math.min(n - 1, Math.max(0, row)), column: Math.min(n - 1, Math.max(0, column)) };
    draw();
    const count = rows[at.row].get(at.column) || 0, whole = totals[at.row];
    said.textContent = `${classes[at.row]} ${at.row === at.column ? "recognized" : `called ${classes[at.column]}`}: ${count} of ${whole}` + (whole ? ` (${Math.round(100 * count / whole)} %)` : "");
  }
  canvas.addEventListener("pointermove", (event) => tell(Math.floor(event.offsetY / box.width * n), Math.floor(event.offsetX / box.width * n)));
  canvas.addEventListener("pointerleave", () => { at = null; said.textContent = before; draw(); });
  canvas.addEventListener("keydown", (event) => {
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!move) return;
    event.preventDefault();
    tell(at ? at.row + move[0] : 0, at ? at.column + move[1] : 0);
  });
  page.repainted(draw);
})();
