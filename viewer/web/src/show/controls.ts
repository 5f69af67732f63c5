/** A slider whose value is said in words. */

import { element } from "../ui/ui";

export function wordSlider(
  label: string,
  id: string,
  range: { min: number; max: number; step: number; value: number },
  say: (value: number) => string,
  act: (value: number) => void,
): { root: HTMLDivElement; set: (value: number) => void } {
  const input = element("input", { type: "range", id, min: String(range.min), max: String(range.max), step: String(range.step), value: String(range.value) });
  const output = element("output", { class: "amount", for: id });
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
  return { root: element("div", { class: "slider" }, element("label", { for: id }, label), output, input), set };
}
