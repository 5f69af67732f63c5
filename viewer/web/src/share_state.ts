/** What a link restores: each part of the page puts a short JSON value under its key into the address after "#". */

export interface SharePart {
  /** What to remember now; undefined: nothing. */
  save: () => unknown;
  /** Restore what save() gave, once the page is ready. The value comes from a link: check it, and ignore what does not fit. */
  load: (value: unknown) => void;
}

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
  /** Restore what the address says; false when it says nothing, or nothing that can be read. */
  restore(hash: string = location.hash): boolean {
    const text = new URLSearchParams(hash.replace(/^#/, "")).get("v");
    if (!text || text.length > MAX_LINK) return false;
    let values: unknown;
    try {
      values = JSON.parse(text);
    } catch {
      return false;
    }
    if (typeof values !== "object" || values === null || Array.isArray(values)) return false;
    for (const [key, part] of this.parts) if (Object.hasOwn(values, key)) part.load((values as Record<string, unknown>)[key]);
    return true;
  }
}
