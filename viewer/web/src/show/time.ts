/** The player of a scene that moves: play, pause, step, seek, speed, loop. */

import { type Player, type Speed, SPEEDS } from "../content/player";
import type { Page } from "../page";
import { iconOf } from "../ui/elements";
import { ICONS } from "../ui/icons";
import { element, iconButton } from "../ui/ui";

const ICON_LOOP = '<path d="M4 12a6 6 0 0 1 6-6h9M16 3l3 3-3 3M20 12a6 6 0 0 1-6 6H5M8 21l-3-3 3-3"/>';
const ICON_BACK = '<path d="M17 6l-8 6 8 6zM6 6v12"/>';
const ICON_ON = '<path d="M7 6l8 6-8 6zM18 6v12"/>';
/** A frame that is not there after so long is said to be on its way. */
const SIGN_MS = 400;

export function installTime(page: Page): void {
  const { player } = page.content;
  if (!player) return;
  const bar = buildBar(page, player);
  page.ui.root.append(bar);
  addKeys(page, player);
  const linked = share(page, player);
  page.navigation.onHome(() => {
    if (!player.playing && page.content.progress.state === "ready") page.content.showMoment(page.manifest.start.time);
  });
  let resumes = false;
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      resumes = player.playing;
      player.pause();
    } else if (resumes) player.play();
  });
  let begun = false;
  page.content.onProgress(({ state }) => {
    if (state !== "ready" || begun) return;
    begun = true;
    bar.hidden = !page.content.plays;
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches || linked();
    if (!still && page.content.plays && !document.hidden) player.play();
  });
}

function buildBar({ content, stage }: Page, player: Player): HTMLElement {
  const { frames } = player;
  const play = iconButton("Play", ICONS.play, "k");
  const back = iconButton("One frame back", ICON_BACK, ",");
  const on = iconButton("One frame on", ICON_ON, ".");
  const again = iconButton("Loop", ICON_LOOP, "u");
  [play.id, back.id, on.id, again.id] = ["play", "frame-back", "frame-on", "loop"];
  const slider = element("input", { type: "range", id: "time", min: "0", max: String(frames), step: "1", value: "0", "aria-label": "Time" });
  const output = element("output", { for: "time" });
  const speed = element("select", { id: "speed", "aria-label": "Speed" }, ...SPEEDS.map((value) => element("option", { value: String(value) }, `${value}×`)));
  const sign = element("span", { class: "waiting", role: "status" });
  const tell = () => {
    const { time } = player;
    slider.value = String(player.frame);
    output.textContent = `${time.toFixed(2)} s`;
    slider.setAttribute("aria-valuetext", `${time.toFixed(2)} seconds`);
  };
  const show = () => {
    play.setAttribute("aria-label", player.playing ? "Pause" : "Play");
    play.firstElementChild?.replaceWith(iconOf(player.playing ? ICONS.pause : ICONS.play));
    again.setAttribute("aria-pressed", String(player.loop));
    speed.value = String(player.speed);
  };
  tell();
  show();
  content.onTime(tell);
  player.onChange(show);
  play.addEventListener("click", () => player.toggle());
  back.addEventListener("click", () => void player.stepBy(-1));
  on.addEventListener("click", () => void player.stepBy(1));
  again.addEventListener("click", () => player.setLoop(!player.loop));
  speed.addEventListener("change", () => player.setSpeed(Number(speed.value) as Speed));
  slider.addEventListener("input", () => void player.showFrame(slider.valueAsNumber));
  let since: number | null = null;
  stage.onFrame(() => {
    const now = performance.now();
    since = content.waits ? (since ?? now) : null;
    const says = since !== null && now - since > SIGN_MS ? "Loading" : "";
    if (sign.textContent !== says) sign.textContent = says;
  });
  const buttons = element("div", { class: "time-buttons" }, back, play, on);
  return element("div", { class: "time", role: "region", "aria-label": "Player" }, buttons, slider, output, sign, speed, again);
}

function addKeys({ ui, stage }: Page, player: Player): void {
  const say = () => ui.say(`Speed ${player.speed}×`);
  ui.addKey({ key: "k", does: "Play, pause (also Space)", act: () => player.toggle() });
  ui.addKey({ key: ",", does: "One frame back", act: () => void player.stepBy(-1) });
  ui.addKey({ key: ".", does: "One frame on", act: () => void player.stepBy(1) });
  ui.addKey({ key: "<", does: "Play slower", act: () => (player.shift(-1), say()) });
  ui.addKey({ key: ">", does: "Play faster", act: () => (player.shift(1), say()) });
  ui.addKey({
    key: "u",
    does: "Play again and again, or once",
    act: () => {
      player.setLoop(!player.loop);
      ui.say(player.loop ? "It plays again and again." : "It plays once.");
    },
  });
  stage.canvas.addEventListener("keydown", (event) => {
    if (event.key !== " ") return; // only here: elsewhere Space presses buttons
    event.preventDefault();
    player.toggle();
  });
}

/** Puts the time into links; returns whether one has said which time is shown. */
function share({ content, share }: Page, player: Player): () => boolean {
  const { start, end } = player.span;
  let linked = false;
  share.register("time", {
    save: () => content.time ?? undefined,
    load: (value) => {
      if (typeof value !== "number" || !(value >= start && value <= end)) return false;
      linked = true;
      content.showMoment(value);
      return true;
    },
  });
  return () => linked;
}
