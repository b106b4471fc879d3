// What a page or a funnel may decide: an attribute of the script's own tag, else the server's setting, else the default.

import type { Configuration } from './public';

/// Each funnel's object, and under '' what happens, for the debug file.
type Registry = Record<string, any> & { '': unknown[] };

export let config: Configuration;

/// What the scripts of one page know of each other.
export let registry: Registry;

/// Whether this file may have to ask the server for the configuration: it is the same for all funnels, or the npm module.
/// Where the server puts the whole configuration inside, that part is not built.
declare const ASKS: boolean;

let script: HTMLScriptElement | null | undefined, given: Partial<Configuration> | 0;

/// `inside` is 0 in the file that is the same for all funnels: then the script's tag names the funnel.
export const readTag = (inside: typeof given): void => {
  registry = (window as any)[Symbol.for('RapidMetrics')] = (window as any)[Symbol.for('RapidMetrics')] || { '': [] };
  given = inside;
  script = (ASKS && document.currentScript ? [document.currentScript as HTMLScriptElement, ...document.scripts] : [...document.scripts]).find((tag) => !ASKS || given ?
    `fid=${tag.dataset.fid}&${tag.src}&`.includes(`fid=${(given as Configuration).fid}&`) : tag.dataset.fid);
  take();
};

/// The tag's `data-` attributes bear the very names of the settings. `found` is what the server said when it was asked.
const take = (found?: object): void => {
  config = {
    ...(ASKS && { api: script && script.src.replace(/\/sdk\/.*/, '/session'), storage: 'cookie', namespace: 'RapidMetrics' }),
    ...found,
    ...given,
    ...(script && script.dataset),
  } as Configuration;
};

export const ask = async (): Promise<void> => {
  try {
    take(await (await fetch(`${config.api}/${config.fid}.json`)).json());
  } catch {} // without an answer there are no pixels, but events arrive
};

export const isOff = (setting: unknown): boolean => /off|false/.test(setting as string);
