/** What a link restores: each part of the page puts a short JSON value under its key into the address after "#". */

export interface SharePart {
  /** What to remember now; undefined: nothing. */
  save: () => unknown;
  /** Restore what save() gave. The value comes from a link: check it, ignore what does not fit, and return false when nothing of it does. */
  load: (value: unknown) => boolean | void;
}

/** none: the address is no link to a view. damaged: nothing of it can be read. partly: some of it does not fit this place. */
export type Restored = "none" | "whole" | "partly" | "damaged";

/** What a visitor is told about a link. */
export const LINK_SAYS: Partial<Record<Restored, string>> = {
  damaged: "This link is damaged or was cut off, so the page shows its start view. Ask for the whole link once more.",
  partly: "A part of this link does not fit this place and is left out. It may have been changed, or the place was published anew.",
};

const MAX_LINK = 100_000;

export class ShareState {
  private readonly parts = new Map<string, SharePart>();

  register(key: string, part: SharePart): void {
    this.parts.set(key, part);
  }
  /** The address of this view. */
  link(): string {
    const values: Record<string, unknown> = {};
    for (const [key, part] of this.parts) {
      const value = part.save();
      if (value !== undefined) values[key] = value;
    }
    const url = new URL(location.href);
    url.hash = `v=${encodeURIComponent(JSON.stringify(values, (_, v) => (typeof v === "number" ? Number(v.toPrecision(7)) : v)))}`;
    return url.href;
  }
  /** Restore what the address says. */
  restore(hash: string = location.hash): Restored {
    const text = new URLSearchParams(hash.replace(/^#/, "")).get("v");
    if (text === null) return "none";
    const values = text.length > MAX_LINK ? null : valuesOf(text);
    if (!values) return "damaged";
    const known = [...this.parts].filter(([key]) => Object.hasOwn(values, key));
    const fits = known.map(([key, part]) => part.load(values[key]) !== false);
    return fits.every(Boolean) ? "whole" : fits.some(Boolean) ? "partly" : "damaged";
  }
}

function valuesOf(text: string): Record<string, unknown> | null {
  try {
    const values: unknown = JSON.parse(text);
    return typeof values === "object" && values !== null && !Array.isArray(values) ? (values as Record<string, unknown>) : null;
  } catch {
    return null; // cut off, or mangled on its way
  }
}
