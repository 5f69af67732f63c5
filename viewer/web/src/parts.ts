/** The parts of the page, in the order of their buttons. */

import type { Page } from "./page";
import { installMeasure } from "./tools/measure";
import { installXr } from "./xr/install";

export const PARTS: readonly ((page: Page) => void)[] = [installMeasure, installXr];
