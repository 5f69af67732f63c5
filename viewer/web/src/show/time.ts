/** The time slider of a scene that moves: play, pause, loop, step. */

import type { Page } from "../page";
import { iconOf } from "../ui/elements";
import { ICONS } from "../ui/icons";
import { element, iconButton } from "../ui/ui";

const ICON_LOOP = '<path d="M4 12a6 6 0 0 1 6-6h9M16 3l3 3-3 3M20 12a6 6 0 0 1-6 6H5M8 21l-3-3 3-3"/>';

export function installTime(page: Page): void {
  const { manifest, content, ui, stage } = page;
  const { moving } = manifest;
  if (!moving) return;
  const frames = Math.max(1, Math.round((moving.end - moving.start) * moving.fps));
  const step = (moving.end - moving.start) / frames;
  let [playing, loop] = [false, true];
  const play = iconButton("Play", ICONS.play, "k");
  play.id = "play";
  const again = iconButton("Loop", ICON_LOOP);
  again.id = "loop";
  again.setAttribute("aria-pressed", "true");
  const slider = element("input", { type: "range", id: "time", min: "0", max: String(frames), step: "1", value: "0", "aria-label": "Time" });
  const output = element("output", { for: "time" });
  const bar = element("div", { class: "time", role: "region", "aria-label": "Time" }, play, slider, output, again);
  ui.root.append(bar);

  const tell = () => {
    const time = content.time ?? moving.start;
    slider.value = String(Math.round((time - moving.start) / step));
    output.textContent = `${time.toFixed(2)} s`;
    slider.setAttribute("aria-valuetext", `${time.toFixed(2)} seconds`);
  };
  const go = (time: number) => void content.setTime(Math.min(moving.end, Math.max(moving.start, time)));
  const setPlaying = (on: boolean) => {
    playing = on;
    if (on && !loop && (content.time ?? 0) >= moving.end) go(moving.start);
    play.setAttribute("aria-label", on ? "Pause" : "Play");
    play.firstElementChild?.replaceWith(iconOf(on ? ICONS.pause : ICONS.play));
  };
  const stepBy = (frames: number) => {
    setPlaying(false);
    go((content.time ?? moving.start) + frames * step);
  };
  setPlaying(false);
  tell();
  content.onTime(tell);
  play.addEventListener("click", () => setPlaying(!playing));
  again.addEventListener("click", () => {
    loop = !loop;
    again.setAttribute("aria-pressed", String(loop));
  });
  slider.addEventListener("input", () => go(slider.valueAsNumber === frames ? moving.end : moving.start + slider.valueAsNumber * step));
  ui.addKey({ key: "k", does: "Play, pause (also Space)", act: () => setPlaying(!playing) });
  stage.canvas.addEventListener("keydown", (event) => {
    if (event.key !== " ") return; // only here: elsewhere Space presses buttons
    event.preventDefault();
    setPlaying(!playing);
  });
  ui.addKey({ key: ",", does: "One frame back", act: () => stepBy(-1) });
  ui.addKey({ key: ".", does: "One frame on", act: () => stepBy(1) });
  let [last, beyond] = [0, 0]; // beyond: seconds that the last frame has been shown
  stage.onFrame((seconds) => {
    const delta = Math.min(0.5, seconds - last);
    last = seconds;
    if (!playing || !content.settled) return; // time waits for a frame that is still on its way
    const time = (content.time ?? moving.start) + delta;
    if (time < moving.end) {
      beyond = 0;
      return go(time);
    }
    if (beyond === 0) go(moving.end);
    beyond += delta;
    if (beyond < step) return;
    beyond = 0;
    if (loop) go(moving.start);
    else setPlaying(false);
  });
  page.share.register("time", {
    save: () => content.time ?? undefined,
    load: (value) => {
      if (typeof value === "number" && value >= moving.start && value <= moving.end) content.startTime = value;
    },
  });
}
