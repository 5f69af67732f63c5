// Behaviour of geometry.html: the mesh is turned by the slider, by arrow keys on it, or by dragging. Copied into the one file.
document.documentElement.classList.add("script");
for (const table of document.querySelectorAll(".turntable")) {
  const view = table.querySelector(".window"), slider = table.querySelector("input[type=range]");
  const count = Number(table.dataset.frames), columns = Number(table.dataset.columns);
  const show = (k) => {
    k = ((k % count) + count) % count;
    slider.value = k;
    slider.setAttribute("aria-valuetext", Math.round(360 * k / count) + " degrees");
    view.style.setProperty("--column", k % columns);
    view.style.setProperty("--row", Math.floor(k / columns));
  };
  slider.addEventListener("input", () => show(Number(slider.value)));
  slider.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    show(Number(slider.value) + step);
  });
  let from = null;
  view.addEventListener("pointerdown", (event) => {
    from = { x: event.clientX, frame: Number(slider.value) };
    view.setPointerCapture(event.pointerId);
  });
  view.addEventListener("pointermove", (event) => {
    if (from) show(from.frame + Math.round((event.clientX - from.x) / view.clientWidth * count * 0.6));
  });
  for (const end of ["pointerup", "pointercancel"]) view.addEventListener(end, () => { from = null; });
  show(Number(slider.value));
}
