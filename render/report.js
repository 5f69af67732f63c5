// Behaviour of report.html: the layout switch, the sliders, and the curves' read-out. Copied into the one file.
for (const radio of document.querySelectorAll("input[name=mode]")) {
  radio.addEventListener("change", () => { document.body.className = radio.value === "side" ? "" : "slide mode-" + radio.value; });
}
for (const slider of document.querySelectorAll(".trio input")) {
  slider.addEventListener("input", () => slider.parentNode.style.setProperty("--x", slider.value + "%"));
}
for (const chart of document.querySelectorAll(".chart")) {
  const svg = chart.querySelector(":scope > svg"), output = chart.querySelector("output"), last = output.textContent;
  const lines = [...chart.querySelectorAll("polyline")].map((line, i) => {
    const points = line.getAttribute("points").split(" ").map((p) => p.split(",").map(Number));
    return { points, values: JSON.parse(line.dataset.values), dot: chart.querySelectorAll(".end")[i] };
  });
  const put = (line, i) => { line.dot.setAttribute("cx", line.points[i][0]); line.dot.setAttribute("cy", line.points[i][1]); };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect(), scale = svg.viewBox.baseVal.width / box.width;
    const x = (event.clientX - box.left) * scale, y = (event.clientY - box.top) * scale;
    let near = Infinity, said = last;
    for (const line of lines) {
      let best = 0;
      line.points.forEach((p, i) => { if (Math.abs(p[0] - x) < Math.abs(line.points[best][0] - x)) best = i; });
      put(line, best);
      const away = Math.abs(line.points[best][1] - y);
      if (away < near) { near = away; said = line.values[best]; }
    }
    output.textContent = said;
  });
  svg.addEventListener("pointerleave", () => {
    for (const line of lines) put(line, line.points.length - 1);
    output.textContent = last;
  });
}
