"use strict";
for (const plot of document.querySelectorAll("[data-unit]")) {
  const path = plot.querySelector("path.value"), cursor = plot.querySelector(".cursor"), read = plot.parentNode.querySelector(".read");
  if (!path) continue;
  const points = [...path.getAttribute("d").matchAll(/[ML](-?[\d.]+) (-?[\d.]+)/g)].map(p => [+p[1], +p[2]]);
  const from = +plot.dataset.from, until = +plot.dataset.until, top = +plot.dataset.top, unit = plot.dataset.unit;
  let at = points.length - 1;
  const amount = v => {
    if (unit !== "bytes") return (v < 10 ? v.toFixed(2) : v < 100 ? v.toFixed(1) : Math.round(v)) + (unit ? " " + unit : "");
    let i = 0; const units = ["B", "KiB", "MiB", "GiB", "TiB"];
    while (v >= 1024 && i < 4) { v /= 1024; i++; }
    return v.toFixed(i ? 1 : 0) + " " + units[i];
  };
  const show = () => {
    const [x, y] = points[at], time = new Date(from + x / 1000 * (until - from) + +plot.dataset.offset);
    const text = time.toISOString().slice(11, 21) + "  " + amount((100 - y) / 100 * top);
    cursor.setAttribute("x1", x); cursor.setAttribute("x2", x); cursor.style.visibility = "visible";
    read.textContent = text;
    plot.setAttribute("aria-valuenow", at); plot.setAttribute("aria-valuetext", text);
  };
  plot.setAttribute("aria-valuemax", points.length - 1);
  plot.addEventListener("keydown", event => {
    const to = { ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1, PageDown: at - 20, PageUp: at + 20, Home: 0, End: points.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    at = Math.max(0, Math.min(points.length - 1, to));
    show();
  });
  plot.addEventListener("focus", show);
  plot.addEventListener("pointermove", event => {
    const box = plot.getBoundingClientRect(), x = (event.clientX - box.left) / box.width * 1000;
    at = points.reduce((best, p, i) => Math.abs(p[0] - x) < Math.abs(points[best][0] - x) ? i : best, 0);
    show();
  });
}
