// Drives the shop page like a visitor would, and prints what the page said as one JSON line.
//
//   node drive.mjs walkthrough '{"shop":"http://…","email":"…","webhook":true,"chromium":"/usr/bin/chromium","screenshot":"shop.png"}'
//
// `webhook` (default false) presses the webhook button after the purchase; `lead` (default false) asks for the letter
// first; `dark`, `width` and `timeout_ms` shape the run. Exit 1, with the reason on stderr, when the page never says it.

import { launch } from './chromium.mjs';

const SCENES = { walkthrough };
const [scene, text = '{}'] = process.argv.slice(2);
if (!SCENES[scene]) {
  console.error(`unknown scene ${scene}; there is: ${Object.keys(SCENES).join(', ')}`);
  process.exit(2);
}

const given = { email: 'ada@example.com', width: 1200, timeout_ms: 60000, ...JSON.parse(text) };
const browser = await launch(given.chromium);
try {
  console.log(JSON.stringify(await SCENES[scene](given)));
} catch (error) {
  console.error(error.message);
  process.exitCode = 1;
} finally {
  await browser.close();
}

async function walkthrough({ shop, email, webhook, lead, screenshot, dark, width, timeout_ms }) {
  const context = await browser.newContext({ colorScheme: dark ? 'dark' : 'light', viewport: { width, height: 900 } });
  context.setDefaultTimeout(timeout_ms);
  const page = await context.newPage(), page_errors = [], console_lines = [];
  page.on('pageerror', (error) => page_errors.push(error.message));
  page.on('console', (message) => console_lines.push(`${message.type()}: ${message.text()}`));
  const said = (id) => page.locator(id).innerText();
  const result = async () => {
    await page.waitForFunction(() => document.querySelector('#result').textContent.startsWith('{'));
    return JSON.parse(await said('#result'));
  };

  try {
    await page.goto(shop);
    await page.waitForFunction(() => window.RapidMetrics && RapidMetrics.loaded);
    const told = {};
    if (lead) {
      await page.fill('#lead-email', email);
      await page.click('#lead-submit');
      told.lead_result = await result();
      await page.waitForSelector('#meta[data-settled]');
    }
    await page.fill('#buy-email', email);
    told.order_id = await said('#order-id');
    await page.click('#buy-submit');
    told.track_result = await result();
    await page.waitForSelector('#ledger[data-legs~=browser]');
    if (webhook) {
      await page.click('#webhook-submit');
      await page.waitForFunction(() => document.querySelector('#webhook-answer').textContent);
      await page.waitForSelector('#ledger[data-legs~=server]');
    }
    await page.waitForSelector('#meta[data-settled]');
    return {
      ...told,
      ledger_text: await said('#ledger'),
      meta_text: await said('#meta'),
      webhook_answer: await said('#webhook-answer'),
      page_errors,
      console: console_lines,
    };
  } catch (error) {
    const panel = await page.locator('#ledger, #meta, #result, #webhook-answer').allInnerTexts().catch(() => []);
    throw new Error([error.message, ...panel, ...page_errors, ...console_lines].join('\n'));
  } finally {
    if (screenshot) await page.screenshot({ path: screenshot, fullPage: true }).catch(() => {});
  }
}
