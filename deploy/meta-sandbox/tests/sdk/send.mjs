// Meta's own SDK for Node.js sends to a box: node send.mjs URL PIXEL TOKEN. Prints what the SDK made of each answer, as JSON.

import sdk from 'facebook-nodejs-business-sdk';

const [url, pixel, token] = process.argv.slice(2);
const { Content, CustomData, EventRequest, FacebookAdsApi, ServerEvent, UserData } = sdk;

// The SDK knows one host, as a getter of this class.
Object.defineProperty(FacebookAdsApi, 'GRAPH', { get: () => url });

const now = Math.floor(Date.now() / 1000);

/** A purchase by John; the SDK normalises and hashes him. */
const purchase = (id, time = now) =>
  new ServerEvent()
    .setEventName('Purchase')
    .setEventTime(time)
    .setEventId(id)
    .setActionSource('website')
    .setEventSourceUrl('https://shop.example/thanks')
    .setUserData(
      new UserData()
        .setEmail(' John@Example.com ')
        .setPhone('+1 (650) 555-1212')
        .setFirstName('John')
        .setCountry('US')
        .setExternalId('cust_123')
        .setClientIpAddress('192.0.2.7')
        .setClientUserAgent('Mozilla/5.0')
        .setFbp('fb.1.1596403881668.1116446470'),
    )
    .setCustomData(
      new CustomData()
        .setValue(59.97)
        .setCurrency('usd')
        .setOrderId(id)
        .setContents([new Content().setId('sku-1').setQuantity(3).setItemPrice(19.99)]),
    );

const lead = (id) =>
  new ServerEvent()
    .setEventName('Lead')
    .setEventTime(now)
    .setEventId(id)
    .setActionSource('system_generated')
    .setUserData(new UserData().setExternalId('cust_123'));

async function send(step, events, { access = token, agent = 'rapidmetrics-test' } = {}) {
  try {
    const answer = await new EventRequest(access, pixel, events).setPartnerAgent(agent).execute();
    const { events_received, messages, fbtrace_id } = answer;
    return { step, answer: { events_received, messages, fbtrace_id } };
  } catch (error) {
    return { step, error: { status: error.status, ...error.response } };
  }
}

const said = [
  await send('a purchase', [purchase('node:1')]),
  await send('a batch', [purchase('node:2'), purchase('node:3'), lead('node:4')]),
  await send('an old event in a batch', [purchase('node:5'), purchase('node:6', now - 8 * 86_400)]),
  await send('a wrong token', [purchase('node:7')], { access: 'nobodys' }),
];
console.log(JSON.stringify(said));
