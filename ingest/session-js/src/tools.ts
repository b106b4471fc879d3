// Small tools for everybody.

/// What the browser or the page refuses is not our matter: then there is no answer.
export const attempt = <T>(work: () => T): T | undefined => {
  try {
    return work();
  } catch {}
};

export const sleep = (ms: number): Promise<void> => new Promise((done) => setTimeout(done, ms));

/// Length in UTF-8.
export const bytes = (text: string): number => new TextEncoder().encode(text).length;

/// With the page's nonce, so that a strict policy lets it pass. Trusted Types may still forbid it.
export const loadScript = (url: string): void => {
  attempt(() => {
    const script = document.createElement('script');
    script.src = url;
    script.nonce = (document.querySelector<HTMLElement>('script[nonce]') || script).nonce;
    document.head.append(script);
  });
};

/// Now, or when the document says so: what nobody sees yet may wait.
export const unless = (waits: unknown, event: string, work: () => void): void => {
  if (waits) document.addEventListener(event, work, { once: true });
  else work();
};
