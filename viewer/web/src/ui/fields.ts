/** Form fields with their labels: radio groups, sliders with a number beside them, switches. All native, hence all by keyboard. */

import { element } from "./elements";

let made = 0;
const freshId = (stem: string) => `${stem}-${++made}`;

export interface Choice<T extends string> {
  value: T;
  label: string;
}

export interface RadioGroup<T extends string> {
  root: HTMLFieldSetElement;
  /** Show another choice without calling onChange. */
  set: (value: T) => void;
}

/** A segmented control. */
export function radioGroup<T extends string>(legend: string, choices: readonly Choice<T>[], value: T, onChange: (value: T) => void): RadioGroup<T> {
  const name = freshId("choice");
  const inputs = new Map<T, HTMLInputElement>();
  const items = choices.map((choice) => {
    const input = element("input", { type: "radio", name, value: choice.value });
    input.checked = choice.value === value;
    input.addEventListener("change", () => input.checked && onChange(choice.value));
    inputs.set(choice.value, input);
    return element("label", {}, input, element("span", {}, choice.label));
  });
  const root = element("fieldset", { class: "choices" }, element("legend", {}, legend), element("div", { class: "segments" }, ...items));
  return {
    root,
    set: (next) => {
      const input = inputs.get(next);
      if (input) input.checked = true;
    },
  };
}

export interface Slider {
  root: HTMLElement;
  set: (value: number) => void;
  /** New limits; the value stays. */
  limit: (min: number, max: number) => void;
}

export interface SliderOptions {
  min: number;
  max: number;
  step: number | "any";
  value: number;
  /** Written beside the number: "°", "s". */
  unit?: string;
  digits?: number;
  id?: string;
}

/** A slider with a number field beside it; a number beyond the slider's limits is taken too. */
export function slider(label: string, options: SliderOptions, onInput: (value: number) => void): Slider {
  const id = options.id ?? freshId("slider");
  const digits = options.digits ?? 2;
  const limits = { min: String(options.min), max: String(options.max), step: String(options.step) };
  const range = element("input", { type: "range", id, ...limits });
  const number = element("input", { type: "number", id: `${id}-number`, step: "any", inputmode: "decimal", "aria-label": `${label}, as a number` });
  const show = (value: number, source?: HTMLInputElement) => {
    if (source !== range) range.value = String(value);
    if (source !== number) number.value = value.toFixed(digits);
  };
  const changed = (source: HTMLInputElement) => {
    const value = source.valueAsNumber;
    if (!Number.isFinite(value)) return;
    show(value, source);
    onInput(value);
  };
  range.addEventListener("input", () => changed(range));
  number.addEventListener("input", () => changed(number));
  show(options.value);
  const title = element("label", { for: id }, label);
  const amount = element("span", { class: "amount" }, number, ...(options.unit ? [element("span", { class: "unit", "aria-hidden": "true" }, options.unit)] : []));
  return {
    root: element("div", { class: "slider" }, title, amount, range),
    set: (value) => {
      if (document.activeElement !== number) show(value);
      else show(value, number);
    },
    limit: (min, max) => {
      range.min = String(min);
      range.max = String(max);
    },
  };
}

export interface Toggle {
  root: HTMLElement;
  input: HTMLInputElement;
}

export function toggle(label: string, checked: boolean, onChange: (checked: boolean) => void, id = freshId("switch")): Toggle {
  const input = element("input", { type: "checkbox", role: "switch", id });
  input.checked = checked;
  input.addEventListener("change", () => onChange(input.checked));
  return { root: element("label", { class: "toggle", for: id }, element("span", {}, label), input), input };
}

/** A label above any form element. */
export function labelled(label: string, field: HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement): HTMLElement {
  field.id ||= freshId("field");
  return element("div", { class: "labelled" }, element("label", { for: field.id }, label), field);
}

export function select(label: string, choices: readonly Choice<string>[], value: string): { root: HTMLElement; input: HTMLSelectElement } {
  const input = element("select", {}, ...choices.map((c) => element("option", { value: c.value }, c.label)));
  input.value = value;
  return { root: labelled(label, input), input };
}
