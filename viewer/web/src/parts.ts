/** The parts of the page, in the order of their buttons. */

import type { Page } from "./page";
import { installMeasure } from "./tools/measure";

export const PARTS: readonly ((page: Page) => void)[] = [installMeasure];
