/** A title as the name of a file, without what file systems forbid. */
export function fileName(title: string, ending: string): string {
  const plain = title.normalize("NFC").replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-+|-+$/g, "").slice(0, 80);
  return `${plain || "place"}.${ending}`;
}
