// Sends as senders do: each delivery is signed or made by that sender's own library. Run on standard input with the folder of
// the libraries as the working directory, so that they are found there. Prints one JSON object: sender → [[status, body], …].
import { CloudEvent, HTTP } from 'cloudevents';
import { sign } from '@octokit/webhooks-methods';
import { Webhook } from 'standardwebhooks';
import Stripe from 'stripe';

const { urls, secret, standardSecret } = JSON.parse(process.env.SENDERS);

async function post(url, headers, body) {
  const answer = await fetch(url, { method: 'POST', headers, body });
  return [answer.status, await answer.json()];
}

const results = {};

{
  const body = JSON.stringify({ zen: 'Keep it logically awesome.', umlaut: 'ü' });
  const headers = { 'content-type': 'application/json', 'x-github-event': 'push', 'x-github-delivery': 'd-1' };
  const signed = { ...headers, 'x-hub-signature-256': await sign(secret, body) };
  results.github = [await post(urls.github, signed, body), await post(urls.github, signed, body + ' ')];
}
{
  const payload = JSON.stringify({ id: 'evt_1', object: 'event', type: 'charge.succeeded' });
  const stripe = new Stripe('sk_test_of_nobody');
  const header = (timestamp) => stripe.webhooks.generateTestHeaderString({ payload, secret, timestamp });
  const now = Math.floor(Date.now() / 1000);
  results.stripe = [
    await post(urls.stripe, { 'stripe-signature': header(now) }, payload),
    await post(urls.stripe, { 'stripe-signature': header(now - 3600) }, payload),
  ];
}
{
  const body = JSON.stringify({ type: 'user.created', data: { id: 7 } });
  const at = new Date();
  const signature = new Webhook(standardSecret).sign('msg_1', at, body);
  const headers = {
    'webhook-id': 'msg_1',
    'webhook-timestamp': String(Math.floor(at.getTime() / 1000)),
    'webhook-signature': signature,
  };
  results.standard = [
    await post(urls.standard, headers, body),
    await post(urls.standard, { ...headers, 'webhook-id': 'msg_2' }, body),
  ];
}
{
  const event = (id) =>
    new CloudEvent({ id, source: '/a/place', type: 'com.example.t', subject: 'a "quoted" %', data: { n: 1.5, text: 'ü' } });
  const binary = HTTP.binary(event('1'));
  const structured = HTTP.structured(event('1'));
  const batch = [event('1'), event('2')].map((one) => HTTP.structured(one).body);
  results.cloudevents = [
    await post(urls.cloudevents, binary.headers, binary.body),
    await post(urls.cloudevents, structured.headers, structured.body),
    await post(urls.cloudevents, { 'content-type': 'application/cloudevents-batch+json' }, `[${batch.join(',')}]`),
  ];
}
console.log(JSON.stringify(results));
