/** What the browser remembers of one scene, and files and texts that leave the page. */

import type { Page } from "../page";
import { element, hint } from "../ui/ui";

/** The same place published twice under the same address counts as the same scene. */
function keyOf(page: Page, name: string): string {
  const { title, bounds } = page.manifest;
  return `recon:${name}:${location.pathname}:${title}:${[...bounds.min, ...bounds.max].map((x) => x.toFixed(3)).join(",")}`;
}

/** undefined: nothing is remembered, or nothing that can be read. The value is as hostile as any other input. */
export function recall(page: Page, name: string): unknown {
  try {
    const text = localStorage.getItem(keyOf(page, name));
    return text === null ? undefined : JSON.parse(text);
  } catch {
    return undefined; // storage is switched off, or was damaged: the page starts afresh
  }
}

/** Remember a JSON value; undefined forgets it. */
export function remember(page: Page, name: string, value: unknown): void {
  try {
    if (value === undefined) localStorage.removeItem(keyOf(page, name));
    else localStorage.setItem(keyOf(page, name), JSON.stringify(value));
  } catch (error) {
    console.debug("The browser remembers nothing for this page.", error);
  }
}

/** Copy to the clipboard; where the browser forbids it (pages over plain http), show the text to be copied by hand. */
export async function copyText(page: Page, what: string, text: string): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    page.ui.say(`${what} copied.`);
  } catch {
    const area = element("textarea", { readonly: "", "aria-label": what, rows: "8" });
    area.value = text;
    page.ui.dialog("copy", what, [hint("The browser lets this page copy nothing by itself: mark the text and copy it."), area], [{ label: "Done", weight: "primary" }]);
    area.select();
  }
}

export function download(name: string, text: string, type = "application/json"): void {
  const url = URL.createObjectURL(new Blob([text], { type }));
  element("a", { href: url, download: name }).click();
  window.setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Let the visitor choose a text file. Null: none was chosen. Throws RangeError when it is larger than `most` bytes. */
export function chooseFile(accept: string, most: number): Promise<string | null> {
  const input = element("input", { type: "file", accept, class: "unseen", "aria-label": "File" });
  return new Promise((resolve, reject) => {
    input.addEventListener("cancel", () => (input.remove(), resolve(null)));
    input.addEventListener("change", () => {
      const file = input.files?.[0];
      input.remove();
      if (!file) return resolve(null);
      if (file.size > most) return reject(new RangeError(`The file has ${file.size} bytes; at most ${most} are read.`));
      file.text().then(resolve, reject);
    });
    document.body.append(input);
    input.click();
  });
}
