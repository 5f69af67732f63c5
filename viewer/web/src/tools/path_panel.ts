/** The panel of the camera path: keyframes, playing, saving, and how to film it. */

import { ICONS } from "../ui/icons";
import { labelled, select, toggle } from "../ui/fields";
import { keepFocus } from "../ui/focus";
import { element, hint, iconButton, row, textButton } from "../ui/ui";
import { iconOf } from "../ui/elements";
import type { Path } from "./path";
import { MAX_PATH_BYTES, PathError, pathFromJson } from "./path_file";
import { fileName } from "../file_name";
import { chooseFile, copyText, download } from "./store";

/** The list shows so many keyframes at once. */
const PAGE = 100;
const RATES = ["24", "25", "30", "50", "60"];

export class PathPanel {
  private readonly list = element("ol", { class: "list", "aria-label": "Keyframes" });
  private readonly pages = element("div", { class: "stack" });
  /** The first keyframe of the list, and which one was selected when it was chosen. */
  private first = 0;
  private chosenFor: number | null = null;
  private readonly empty = hint("Move to a view and add it; move on and add the next one. The camera flies smoothly through all of them.");
  private readonly transport = element("div", { class: "transport" });
  private readonly playButton = iconButton("Play", ICONS.play);
  private readonly scrubber = element("input", { type: "range", id: "path-time", min: "0", max: "1", step: "any", "aria-label": "Moment of the path" });
  private readonly clock = element("output", { for: "path-time" });
  private readonly settings = element("div", { class: "stack" });
  private readonly length = element("input", { type: "number", id: "path-duration", min: "0.1", step: "any", inputmode: "decimal" });
  private readonly rate = select("Pictures a second", [], "30");
  private readonly loop = toggle("Loop", false, (loop) => this.path.set({ loop }), "path-loop");
  private readonly save = textButton("Save", () => download(this.file, this.path.json()), "plain", ICONS.save);
  private readonly film = element("div", { class: "stack" });

  constructor(private readonly path: Path) {
    path.onChange(() => this.refresh());
    path.onTick(() => this.tick());
  }

  build(body: HTMLElement): void {
    this.playButton.addEventListener("click", () => (this.path.playing ? this.path.pause() : this.path.play()));
    this.scrubber.addEventListener("input", () => {
      this.path.pause();
      this.path.seek(this.scrubber.valueAsNumber);
    });
    this.length.addEventListener("change", () => this.path.setDuration(this.length.valueAsNumber));
    this.rate.input.addEventListener("change", () => this.path.set({ fps: Number(this.rate.input.value) }));
    this.transport.append(this.playButton, this.scrubber, this.clock);
    this.settings.append(element("div", { class: "pair" }, labelled("Duration, seconds", this.length), this.rate.root), this.loop.root);
    const load = textButton("Load", () => void this.loadFile(), "plain", ICONS.load);
    const add = textButton("Add this view", () => this.path.add(), "primary", ICONS.plus);
    add.id = "path-add";
    body.append(row(add), this.empty, this.transport, this.list, this.pages, this.settings, row(load, this.save), this.film);
    this.refresh();
  }

  private get file(): string {
    return fileName(this.path.page.manifest.title, "path.json");
  }
  private refresh(): void {
    const { path } = this;
    const { keyframes, fps, loop } = path.path;
    const some = keyframes.length > 0;
    this.empty.hidden = some;
    this.list.hidden = this.film.hidden = !some;
    this.transport.hidden = this.settings.hidden = keyframes.length < 2;
    this.save.disabled = !some;
    this.fillList();
    this.playButton.setAttribute("aria-label", path.playing ? "Pause" : "Play");
    this.playButton.firstElementChild?.replaceWith(iconOf(path.playing ? ICONS.pause : ICONS.play));
    this.scrubber.min = String(path.start);
    this.scrubber.max = String(path.start + path.duration);
    if (document.activeElement !== this.length) this.length.value = String(Number(path.duration.toFixed(3)));
    const rates = [...new Set([...RATES, String(fps)])].sort((a, b) => Number(a) - Number(b));
    this.rate.input.replaceChildren(...rates.map((r) => element("option", { value: r }, r)));
    this.rate.input.value = String(fps);
    this.loop.input.checked = loop;
    this.fillFilm();
    this.tick();
  }
  /** Of a long path a part, the one with the selected keyframe when that has changed. */
  private fillList(): void {
    const { selected, path, remembered } = this.path;
    const n = path.keyframes.length;
    if (selected !== null && selected !== this.chosenFor) this.first = PAGE * Math.floor(selected / PAGE);
    this.chosenFor = selected;
    this.first = Math.min(this.first, PAGE * Math.floor(Math.max(0, n - 1) / PAGE));
    const end = Math.min(this.first + PAGE, n);
    this.list.setAttribute("start", String(this.first + 1));
    keepFocus(this.list, () => this.list.replaceChildren(...Array.from({ length: end - this.first }, (_, i) => this.item(this.first + i))));
    keepFocus(this.pages, () => {
      const turn = (label: string, by: number, off: boolean) => {
        const button = textButton(label, () => ((this.first += by), this.fillList()));
        button.disabled = off;
        return button;
      };
      const turns = n > PAGE ? [hint(`Keyframes ${this.first + 1} to ${end} of ${n}.`), row(turn("Earlier", -PAGE, this.first === 0), turn("Later", PAGE, end === n))] : [];
      this.pages.replaceChildren(...turns, ...(remembered ? [] : [hint("A path this long is not kept by the browser: save it before you leave.")]));
    });
  }
  private tick(): void {
    const { path } = this;
    if (document.activeElement !== this.scrubber || path.playing) this.scrubber.value = String(path.now);
    const text = `${(path.now - path.start).toFixed(1)} / ${path.duration.toFixed(1)} s`;
    this.clock.textContent = text;
    this.scrubber.setAttribute("aria-valuetext", text);
  }
  private fillFilm(): void {
    const command = `recon render -w DIR --path ${this.file} --video out.mp4`;
    keepFocus(this.film, () =>
      this.film.replaceChildren(
        hint("To film it, save the path and run:"),
        element("code", { class: "command" }, command),
        textButton("Copy the command", () => void copyText(this.path.page, "Command", command), "plain", ICONS.copy),
      ),
    );
  }
  private item(index: number): HTMLLIElement {
    const { path } = this;
    const keyframe = path.path.keyframes[index]!;
    const open = path.selected === index;
    const head = element("button", { type: "button", class: "entry note-entry", "aria-expanded": String(open), "data-focus": `key-${index}` });
    const moment = element("span", { class: "entry-value" }, `${Number((keyframe.time - path.start).toFixed(2))} s`);
    head.append(element("span", { class: "number key" }, String(index + 1)), element("span", { class: "entry-title" }, `Keyframe ${index + 1}`), moment);
    head.addEventListener("click", () => path.goTo(index));
    const item = element("li", { class: "folding", "data-keyframe": String(index) }, head);
    if (open) item.append(this.details(index));
    return item;
  }
  private details(index: number): HTMLElement {
    const { path } = this;
    const name = `keyframe ${index + 1}`;
    const time = element("input", { type: "number", step: "any", inputmode: "decimal", "data-focus": `time-${index}` });
    time.value = String(Number((path.path.keyframes[index]!.time - path.start).toFixed(3)));
    time.addEventListener("change", () => {
      if (!path.setTime(index, path.start + time.valueAsNumber)) path.page.ui.say("Another keyframe has this time, or it is no time.");
    });
    const button = (label: string, icon: string, focus: string, act: () => void, disabled = false) => {
      const made = iconButton(label, icon);
      made.dataset["focus"] = focus;
      made.disabled = disabled;
      made.addEventListener("click", act);
      return made;
    };
    const last = path.path.keyframes.length - 1;
    return element(
      "div",
      { class: "note-details" },
      row(
        button(`Take this view for ${name}`, ICONS.camera, "update", () => path.update(index)),
        button(`Move ${name} earlier`, ICONS.up, "earlier", () => path.move(index, -1), index === 0),
        button(`Move ${name} later`, ICONS.down, "later", () => path.move(index, 1), index === last),
        button(`Delete ${name}`, ICONS.bin, "delete", () => path.remove(index)),
      ),
      labelled("At second", time),
    );
  }
  private async loadFile(): Promise<void> {
    const { page } = this.path;
    try {
      const text = await chooseFile(".json,application/json", MAX_PATH_BYTES);
      if (text === null) return;
      this.path.replace(pathFromJson(text));
      page.ui.say(`${this.path.path.keyframes.length} keyframes loaded.`);
    } catch (error) {
      page.ui.say(error instanceof PathError || error instanceof RangeError ? error.message : "The file cannot be read.", 8);
    }
  }
}
