/** Questions that stand in the way: a native <dialog>, which keeps the focus inside and gives it back. */

import { element, iconButton, row, textButton, type Weight } from "./elements";
import { ICONS } from "./icons";

export interface DialogAction {
  label: string;
  weight?: Weight;
  /** Returns false to keep the dialog open. */
  act?: () => boolean | void;
}

/** Open a dialog; Escape, the cross, and an action that does not return false close it. */
export function openDialog(root: HTMLElement, id: string, title: string, body: Node[], actions: readonly DialogAction[]): HTMLDialogElement {
  const heading = element("h2", { id: `${id}-heading` }, title);
  const dialog = element("dialog", { id, class: "dialog", "aria-labelledby": `${id}-heading` });
  const close = iconButton("Close", ICONS.close);
  close.addEventListener("click", () => dialog.close());
  const form = element("form", { method: "dialog" }, ...body);
  const buttons = actions.map((action) => {
    const button = textButton(action.label, () => {}, action.weight);
    button.type = action.weight === "primary" ? "submit" : "button";
    if (action.weight !== "primary") button.addEventListener("click", () => action.act?.() !== false && dialog.close());
    return button;
  });
  const primary = actions.find((action) => action.weight === "primary");
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (primary?.act?.() !== false) dialog.close();
  });
  form.append(row(...buttons));
  dialog.append(element("header", {}, heading, close), form);
  dialog.addEventListener("close", () => dialog.remove());
  dialog.addEventListener("keydown", (event) => {
    event.stopPropagation(); // the page's own keys rest
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
  root.append(dialog);
  dialog.showModal();
  form.querySelector<HTMLElement>("input, select, textarea")?.focus();
  return dialog;
}
