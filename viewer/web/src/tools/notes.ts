/** Notes pinned to places: numbered pins in the picture, a list, an editor; the visitor's own and the published ones. */

import * as THREE from "three";
import type { Page } from "../page";
import { ICONS } from "../ui/icons";
import { labelled } from "../ui/fields";
import { keepFocus } from "../ui/focus";
import { element, hint, iconButton, row, textButton } from "../ui/ui";
import { camFromWorld, poseOf, toYup } from "../view/frames";
import { cleanText, keyOf, MAX_FILE_BYTES, MAX_NOTES, MAX_TEXT, MAX_TITLE, type Note, NotesError, notesFromJson, notesToJson, packNotes, unpackNotes } from "./notes_data";
import { type Mark, Overlay } from "./overlay";
import { Placer } from "./placer";
import { type Grip, Pointer } from "./pointer";
import { fileName } from "../file_name";
import { chooseFile, download, recall, remember } from "./store";

export class Notes {
  notes: Note[] = [];
  private selected: number | null = null;
  private nextId = 1;
  private shown = true;
  private placing = false;
  private moving: number | null = null;
  private readonly list = element("ol", { class: "list", "aria-label": "Notes" });
  private readonly empty = hint("Pin a note to a place: what something is, what to look at, what to mend. Notes stay in this browser and travel in share links while they are short.");
  private readonly after = element("div", { class: "stack" });

  constructor(private readonly page: Page) {
    Pointer.of(page).add({ grips: () => this.grips() });
    page.share.register("notes", {
      save: () => packNotes(this.own),
      load: (value) => {
        const notes = unpackNotes(value, this.nextId);
        return notes.length > 0 && this.take(() => this.merge(notes));
      },
    });
    const stored = recall(page, "notes");
    if (typeof stored === "string") this.take(() => this.merge(notesFromJson(stored, this.nextId)));
    if (page.manifest.notes) void this.loadPublished(page.manifest.notes);
    this.draw();
  }

  build(body: HTMLElement): void {
    body.append(row(textButton("Add a note", () => this.start(), "primary", ICONS.plus)), this.empty, this.list, this.after);
    this.refresh();
  }
  refresh(): void {
    this.empty.hidden = this.notes.length > 0;
    this.list.hidden = !this.notes.length;
    keepFocus(this.list, () => this.list.replaceChildren(...this.notes.map((note, i) => this.item(note, i))));
    keepFocus(this.after, () => this.after.replaceChildren(...this.actions()));
  }
  /** Fly to a note and show its text. */
  visit(id: number): void {
    const note = this.notes.find((n) => n.id === id);
    if (!note) return;
    this.selected = id;
    const { navigation, stage, manifest } = this.page;
    const target = toYup(note.at);
    this.page.content.showMoment(note.time);
    if (note.view) void navigation.goTo(poseOf(note.view.cam_from_world), { vfov_deg: note.view.vfov_deg }, 1, target);
    else {
      const { position, quaternion } = navigation.pose;
      const near = 0.15 * new THREE.Vector3(...manifest.bounds.max).distanceTo(new THREE.Vector3(...manifest.bounds.min));
      const ahead = new THREE.Vector3(0, 0, -1).applyQuaternion(quaternion);
      const distance = Math.min(Math.max(near, 1e-3), position.distanceTo(target));
      void navigation.goTo({ position: target.clone().addScaledVector(ahead, -distance), quaternion }, { vfov_deg: stage.vfovDeg }, 1, target);
    }
    this.changed();
  }

  private get own(): Note[] {
    return this.notes.filter((n) => !n.published);
  }
  private async loadPublished(path: string): Promise<void> {
    try {
      const response = await fetch(`./${path}`);
      if (!response.ok) throw new NotesError(`${path} is missing on the server (${response.status}).`);
      const notes = notesFromJson(await response.text(), this.nextId, true);
      this.nextId += notes.length;
      const known = new Set(notes.map(keyOf));
      this.notes = [...notes, ...this.own.filter((n) => !known.has(keyOf(n)))]; // whoever published them may have them as own
      this.changed();
    } catch (error) {
      this.page.ui.say(`The published notes cannot be shown. ${error instanceof NotesError ? error.message : `${path} cannot be fetched.`}`, 8);
    }
  }
  /** Notes that are not here yet. */
  private merge(notes: Note[]): void {
    const known = new Set(this.notes.map(keyOf));
    const fresh = notes.filter((n) => !known.has(keyOf(n)));
    if (this.own.length + fresh.length > MAX_NOTES) throw new NotesError(`There is room for ${MAX_NOTES} notes.`);
    this.notes.push(...fresh);
    this.nextId = Math.max(this.nextId, ...notes.map((n) => n.id + 1));
    this.changed();
  }
  private take(read: () => void): boolean {
    try {
      read();
      return true;
    } catch (error) {
      if (!(error instanceof NotesError || error instanceof RangeError)) throw error;
      this.page.ui.say(error.message, 8);
      return false;
    }
  }
  private start(move: Note | null = null): void {
    if (this.page.ui.narrow) this.page.ui.close();
    Placer.of(this.page).start({ place: (world) => this.placed(world), interrupted: () => this.rest() });
    this.placing = true;
    this.moving = move?.id ?? null;
    this.page.ui.hud({
      text: move ? "Point at the note's new place." : "Point at the place that the note is about.",
      actions: [
        { label: "Place", key: "Enter", act: () => Placer.of(this.page).placeCentre(), weight: "primary" },
        { label: "Cancel", act: () => this.rest() },
      ],
      cancel: () => this.rest(),
    });
  }
  /** Place nothing any more. */
  rest(): void {
    if (!this.placing) return;
    this.placing = false;
    this.moving = null;
    Placer.of(this.page).stop();
    this.page.ui.hud(null);
  }
  private placed(world: THREE.Vector3): void {
    const moved = this.notes.find((n) => n.id === this.moving);
    this.rest();
    const at = world.toArray();
    if (moved) {
      [moved.at, moved.time] = [at, this.page.content.time];
      this.changed();
      return;
    }
    const view = { cam_from_world: camFromWorld(this.page.navigation.pose), vfov_deg: this.page.stage.vfovDeg };
    this.edit({ id: this.nextId++, at, title: "", text: "", view, time: this.page.content.time, published: false }, true);
  }
  private edit(note: Note, fresh = false, typed: Note = note): void {
    const title = element("input", { type: "text", id: "note-title", maxlength: String(MAX_TITLE), required: "", autocomplete: "off" });
    const text = element("textarea", { id: "note-text", maxlength: String(MAX_TEXT) });
    [title.value, text.value] = [typed.title, typed.text];
    const before = [title.value, text.value];
    let kept = false;
    const dialog = this.page.ui.dialog("note", fresh ? "New note" : "Edit the note", [labelled("Title", title), labelled("Text", text)], [
      { label: "Cancel" },
      {
        label: "Keep",
        weight: "primary",
        act: () => {
          kept = true;
          [note.title, note.text] = [cleanText(title.value).trim(), cleanText(text.value).trim()];
          if (fresh) this.notes.push(note);
          this.selected = note.id;
          this.changed();
          this.page.ui.open("notes");
        },
      },
    ]);
    dialog.addEventListener("close", () => {
      const typed = { ...note, title: title.value, text: text.value };
      if (kept || (typed.title === before[0] && typed.text === before[1])) return;
      const again = () => this.edit(fresh ? typed : note, fresh, typed);
      this.page.ui.say("What you wrote was not kept.", 12, { label: "Write on", act: again });
    });
  }
  private remove(note: Note): void {
    const index = this.notes.indexOf(note);
    this.notes.splice(index, 1);
    this.changed();
    this.page.ui.say("Note deleted.", 6, { label: "Undo", act: () => (this.notes.splice(index, 0, note), this.changed()) });
  }
  private changed(): void {
    remember(this.page, "notes", this.own.length ? notesToJson(this.own) : undefined);
    this.draw();
    this.refresh();
  }
  private draw(): void {
    const marks = this.notes.flatMap((note, i): Mark[] => {
      const at = new THREE.Vector3(...note.at);
      const style = `note pin${note.id === this.selected ? " selected" : ""}`;
      const pin: Mark = { kind: "label", at, text: String(i + 1), class: style, id: `note-${note.id}` };
      return note.id === this.selected ? [{ kind: "label", at, text: note.title || `Note ${i + 1}`, class: "note pin-title" }, pin] : [pin];
    });
    Overlay.of(this.page).set("notes", this.shown ? marks : []);
  }
  /** A tap on a pin opens its note. */
  private grips(): Grip[] {
    if (!this.shown || Placer.of(this.page).active) return [];
    return this.notes.flatMap((note) => {
      const at = Overlay.of(this.page).project(new THREE.Vector3(...note.at));
      const tap = () => {
        this.selected = this.selected === note.id ? null : note.id;
        this.changed();
        if (this.selected !== null) this.page.ui.open("notes");
        this.list.querySelector(`[data-note="${note.id}"]`)?.scrollIntoView({ block: "nearest" });
      };
      return at ? [{ x: at[0], y: at[1] - 20, cursor: "pointer", drag: () => {}, tap }] : [];
    });
  }
  private item(note: Note, index: number): HTMLLIElement {
    const open = note.id === this.selected;
    const head = element("button", { type: "button", class: "entry note-entry", "aria-expanded": String(open), "data-focus": `note-${note.id}` });
    head.append(element("span", { class: "number" }, String(index + 1)), element("span", { class: "entry-title" }, note.title || `Note ${index + 1}`));
    if (note.published) head.append(element("span", { class: "entry-value" }, "published"));
    head.addEventListener("click", () => {
      this.selected = open ? null : note.id;
      this.changed();
    });
    const item = element("li", { class: "folding", "data-note": String(note.id) }, head);
    if (open) item.append(this.details(note, index));
    return item;
  }
  private details(note: Note, index: number): HTMLElement {
    const name = note.title || `note ${index + 1}`;
    const fly = iconButton(`Fly to ${name}`, ICONS.fly);
    fly.addEventListener("click", () => this.visit(note.id));
    const buttons = row(fly);
    if (!note.published) {
      const edit = iconButton(`Edit ${name}`, ICONS.edit);
      edit.addEventListener("click", () => this.edit(note));
      const move = iconButton(`Move ${name}`, ICONS.target);
      move.addEventListener("click", () => this.start(note));
      const remove = iconButton(`Delete ${name}`, ICONS.bin);
      remove.addEventListener("click", () => this.remove(note));
      buttons.append(edit, move, remove);
    }
    const text = note.text ? [element("p", { class: "note-text" }, note.text)] : [];
    const when = note.time === null || !this.page.manifest.moving ? [] : [hint(`At ${note.time.toFixed(2)} s: flying there goes to that moment.`)];
    return element("div", { class: "note-details" }, ...text, ...when, ...(note.published ? [hint("Published with this place.")] : []), buttons);
  }
  private actions(): HTMLElement[] {
    const load = textButton("Load notes", () => void this.importFile(), "plain", ICONS.load);
    const save = textButton("Save notes", () => download(fileName(this.page.manifest.title, "notes.json"), notesToJson(this.notes)), "plain", ICONS.save);
    save.disabled = !this.notes.length;
    const long = this.own.length > 0 && packNotes(this.own) === undefined;
    const hide = textButton(this.shown ? "Hide the pins" : "Show the pins", () => ((this.shown = !this.shown), this.changed()));
    return [row(load, save, ...(this.notes.length ? [hide] : [])), ...(long ? [hint("These notes are too long for a share link: save them and send the file.")] : [])];
  }
  private async importFile(): Promise<void> {
    try {
      const text = await chooseFile(".json,application/json", MAX_FILE_BYTES);
      if (text === null) return;
      const before = this.notes.length;
      if (this.take(() => this.merge(notesFromJson(text, this.nextId)))) this.page.ui.say(`${this.notes.length - before} notes added.`);
    } catch (error) {
      this.page.ui.say(error instanceof RangeError ? error.message : "The file cannot be read.", 8);
    }
  }
}

export function installNotes(page: Page): void {
  const notes = new Notes(page);
  page.ui.addPanel({ id: "notes", title: "Notes", icon: ICONS.pin, key: "n", group: "tools", order: 20, build: (body) => notes.build(body), onClose: () => !page.ui.narrow && notes.rest() });
}
