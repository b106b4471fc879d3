// What a page or a funnel may decide: an attribute of the script's own tag, else the server's setting, else the default.

import type { Configuration } from './public';

/// Each funnel's object, and under '' what happens, for the debug file.
type Registry = Record<string, any> & { '': unknown[] };

export let config: Configuration & { cookieDomain?: string };

/// What the scripts of one page know of each other.
export let registry: Registry;

/// Whether this file may have to ask the server for the configuration: it is the same for all funnels, or the npm module.
/// Where the server puts the whole configuration inside, that part is not built.
declare const ASKS: boolean;

let script: HTMLScriptElement | null | undefined, given: Partial<Configuration> | 0;

/// `inside` is 0 in the file that is the same for all funnels: then the script's tag names the funnel.
export const readTag = (inside: typeof given): void => {
  const page = window as unknown as Record<symbol, Registry>, name = Symbol.for('RapidMetrics');
  registry = page[name] = page[name] || { '': [] };
  given = inside;
  script = [document.currentScript as HTMLScriptElement | null, ...document.scripts].find((tag) => tag && (!ASKS || given ?
    tag.dataset.fid == (given as Configuration).fid || (tag.src + '&').includes(`fid=${(given as Configuration).fid}&`) : tag.dataset.fid));
  take();
};

/// The tag's `data-` attributes bear the very names of the settings. `found` is what the server said when it was asked.
const take = (found?: object): void => {
  config = Object.assign(ASKS ? { api: script && script.src.replace(/\/sdk\/.*/, '/session'), storage: 'cookie', namespace: 'RapidMetrics' } : {},
    found, given, script && script.dataset) as typeof config;
};

export const ask = async (): Promise<void> => {
  try {
    take(await (await fetch(`${config.api}/${config.fid}.json`)).json());
  } catch (e) {} // without an answer there are no pixels, but events arrive
};

export const isOff = (setting: unknown): boolean => /off|false/.test(setting as string);
