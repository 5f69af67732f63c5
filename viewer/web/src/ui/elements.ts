/** Elements made by hand: attributes, children, icons. Text from files only ever becomes text. */

/** An element with attributes and children; strings become text. */
export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  attributes: Record<string, string> = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** The drawing of an icon: the inside of a 24x24 SVG, drawn with strokes. Icons are ours, never from a file. */
export function iconOf(inner: string): SVGSVGElement {
  const holder = document.createElement("template");
  holder.innerHTML = `<svg viewBox="0 0 24 24" aria-hidden="true" focusable="false">${inner}</svg>`;
  return holder.content.firstElementChild as SVGSVGElement;
}

/** A square button with an icon; its label stands in a tooltip, and below the icon where there is room (`short`). */
export function iconButton(label: string, icon: string, key?: string, short?: string): HTMLButtonElement {
  const named = !short || label.toLowerCase().includes(short.toLowerCase()) ? label : `${short}: ${label}`; // what is read includes what is seen
  const button = element("button", { type: "button", class: "icon", "aria-label": named, "data-tip": "" });
  button.append(iconOf(icon), element("span", { class: "caption", "aria-hidden": "true" }, short ?? label));
  if (key) button.setAttribute("aria-keyshortcuts", key.toUpperCase());
  return button;
}

export type Weight = "plain" | "primary" | "danger";

export function textButton(label: string, act: () => void, weight: Weight = "plain", icon?: string): HTMLButtonElement {
  const button = element("button", { type: "button", class: `text ${weight}` });
  if (icon) button.append(iconOf(icon));
  button.append(element("span", {}, label));
  button.addEventListener("click", act);
  return button;
}

/** Buttons side by side; they wrap. */
export function row(...children: (Node | string)[]): HTMLDivElement {
  return element("div", { class: "row" }, ...children);
}

/** A paragraph in the softer colour. */
export function hint(text: string): HTMLParagraphElement {
  return element("p", { class: "hint" }, text);
}
