/** Form controls, labelled, as the panels use them. */

import { element } from "../ui/ui";

/** Radio buttons under a legend. `select` sets the choice from outside. */
export function choice<T extends string>(
  legend: string,
  name: string,
  options: readonly (readonly [T, string])[],
  value: T,
  act: (value: T) => void,
): { root: HTMLFieldSetElement; select: (value: T) => void } {
  const root = element("fieldset", { class: "choice" }, element("legend", {}, legend));
  const inputs = new Map<T, HTMLInputElement>();
  for (const [key, label] of options) {
    const input = element("input", { type: "radio", name, value: key, id: `${name}-${key}` });
    input.checked = key === value;
    input.addEventListener("change", () => act(key));
    inputs.set(key, input);
    root.append(element("label", { for: input.id }, input, element("span", {}, label)));
  }
  return {
    root,
    select: (key) => {
      const input = inputs.get(key);
      if (input) input.checked = true;
    },
  };
}

export function toggle(label: string, id: string, value: boolean, act: (value: boolean) => void): { root: HTMLLabelElement; input: HTMLInputElement } {
  const input = element("input", { type: "checkbox", id });
  input.checked = value;
  input.addEventListener("change", () => act(input.checked));
  return { root: element("label", { class: "toggle", for: id }, input, element("span", {}, label)), input };
}

/** A slider with its value written beside it. */
export function slider(
  label: string,
  id: string,
  range: { min: number; max: number; step: number; value: number },
  say: (value: number) => string,
  act: (value: number) => void,
): { root: HTMLDivElement; input: HTMLInputElement; set: (value: number) => void } {
  const input = element("input", { type: "range", id, min: String(range.min), max: String(range.max), step: String(range.step), value: String(range.value) });
  const output = element("output", { for: id });
  const tell = () => {
    output.textContent = say(input.valueAsNumber);
    input.setAttribute("aria-valuetext", output.textContent);
  };
  input.addEventListener("input", () => {
    tell();
    act(input.valueAsNumber);
  });
  tell();
  const set = (value: number) => {
    input.value = String(value);
    tell();
  };
  return { root: element("div", { class: "slider" }, element("label", { for: id }, label), output, input), input, set };
}
