/** Dark or light: as the system says, until the visitor chooses; the choice is remembered. */

export type Theme = "dark" | "light";

const KEY = "recon:theme";
const light = () => window.matchMedia("(prefers-color-scheme: light)");

export function theme(): Theme {
  return remembered() ?? (light().matches ? "light" : "dark");
}

export function setTheme(chosen: Theme): void {
  const system: Theme = light().matches ? "light" : "dark";
  try {
    if (chosen === system) localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, chosen);
  } catch (error) {
    console.debug("The choice of colours lasts until the page is closed.", error);
  }
  apply(chosen);
}

/** Put the theme on the page, and follow the system from now on. */
export function startTheme(onChange: (now: Theme) => void = () => {}): void {
  light().addEventListener("change", () => {
    apply(theme());
    onChange(theme());
  });
  apply(theme());
}

function apply(now: Theme): void {
  document.documentElement.dataset["theme"] = now;
}

function remembered(): Theme | null {
  try {
    const value = localStorage.getItem(KEY);
    return value === "dark" || value === "light" ? value : null;
  } catch {
    return null; // storage is switched off: nothing is remembered
  }
}
