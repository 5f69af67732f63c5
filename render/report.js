// Behaviour of report.html: the layout switch, the sliders, and the curves' read-out. Copied into the one file.
for (const radio of document.querySelectorAll("input[name=mode]")) {
  radio.addEventListener("change", () => { document.body.className = radio.value === "side" ? "" : "slide mode-" + radio.value; });
}
for (const slider of document.querySelectorAll(".trio input")) {
  slider.addEventListener("input", () => slider.parentNode.style.setProperty("--x", slider.value + "%"));
}
for (const chart of document.querySelectorAll(".chart")) {
  const svg = chart.querySelector("svg"), output = chart.querySelector("output"), dot = chart.querySelector(".end");
  const points = chart.querySelector("polyline").getAttribute("points").split(" ").map((p) => p.split(",").map(Number));
  const values = chart.dataset.values.split(";"), last = output.textContent;
  const show = (i, text) => {
    dot.setAttribute("cx", points[i][0]);
    dot.setAttribute("cy", points[i][1]);
    output.textContent = text;
  };
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    const x = (event.clientX - box.left) / box.width * svg.viewBox.baseVal.width;
    let best = 0;
    points.forEach((p, i) => { if (Math.abs(p[0] - x) < Math.abs(points[best][0] - x)) best = i; });
    show(best, values[best]);
  });
  svg.addEventListener("pointerleave", () => show(points.length - 1, last));
}
