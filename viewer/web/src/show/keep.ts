/** What a visitor takes away: a picture, a link to this view; and the whole screen. */

import type { Page } from "../page";
import { element, textButton } from "../ui/ui";
import { fileName } from "../file_name";

const ICON_SHARE = '<circle cx="18" cy="5" r="2.5"/><circle cx="6" cy="12" r="2.5"/><circle cx="18" cy="19" r="2.5"/><path d="M8.2 10.8l7.6-4.4M8.2 13.2l7.6 4.4"/>';
const ICON_FULL = '<path d="M4 9V4h5M20 9V4h-5M4 15v5h5M20 15v5h-5"/>';

export function installKeep(page: Page): void {
  const { ui } = page;
  const field = element("input", { type: "text", id: "share-link", readonly: "", "aria-label": "Link to this view" });
  ui.addPanel({
    id: "share",
    title: "Share",
    icon: ICON_SHARE,
    key: "l",
    group: "page",
    onOpen: () => (field.value = page.share.link()),
    build: (body) => {
      const copy = textButton("Copy the link to this view", () => void copyLink(page, field));
      copy.id = "copy-link";
      const shot = textButton("Save a picture (PNG)", () => saveScreenshot(page));
      shot.id = "screenshot";
      body.append(copy, field, shot);
    },
  });
  ui.addKey({ key: "o", does: "Save a picture", act: () => saveScreenshot(page) });
  if (document.fullscreenEnabled) installFullScreen(page);
}

async function copyLink(page: Page, field: HTMLInputElement): Promise<void> {
  field.value = page.share.link();
  try {
    await navigator.clipboard.writeText(field.value);
    page.ui.say("The link to this view is copied.");
  } catch {
    field.focus();
    field.select();
    page.ui.say("This browser lets no page copy here: copy the marked link yourself.");
  }
}

/** The canvas as it is now, without the page's panels. */
function saveScreenshot({ stage, manifest, ui }: Page): void {
  const save = (blob: Blob | null) => {
    if (!blob) return ui.say("The picture could not be made.");
    const url = URL.createObjectURL(blob);
    element("a", { href: url, download: fileName(manifest.title, "png") }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
    ui.say(`Saved as ${fileName(manifest.title, "png")}.`);
  };
  stage.withAllPixels((canvas) => canvas.toBlob(save, "image/png"));
}

function installFullScreen({ ui }: Page): void {
  const button = ui.addButton("Full screen", ICON_FULL, () => void toggle(), "f", { group: "page", id: "full-screen" });
  const toggle = async () => {
    try {
      if (document.fullscreenElement) await document.exitFullscreen();
      else await document.documentElement.requestFullscreen();
    } catch {
      ui.say("This browser gives the page no full screen.");
    }
  };
  button.setAttribute("aria-pressed", "false");
  document.addEventListener("fullscreenchange", () => button.setAttribute("aria-pressed", String(document.fullscreenElement !== null)));
}
