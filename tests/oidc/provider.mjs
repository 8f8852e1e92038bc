// An issuer of OpenID Connect, which is certified: oidc-provider. Prints its URL, then a token for each line that it reads:
// "AUDIENCE TTL", in seconds. "rotate" gives it another key, which is in its JWKS alone from then on. "confirm URL" does in a browser's
// place what somebody does who logs in as ana with a device's code, and prints the last page's heading.
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import Provider from 'oidc-provider';

// Its notices are none of what is read here.
console.info = console.error;
const server = createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const url = `http://127.0.0.1:${server.address().port}`;

function provider() {
  const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' });
  return new Provider(url, {
    clients: [{
      client_id: 'trainer', client_secret: 'secret', grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
      id_token_signed_response_alg: 'ES256',
    }, {
      client_id: 'registryctl', token_endpoint_auth_method: 'none', redirect_uris: [], response_types: [],
      grant_types: ['urn:ietf:params:oauth:grant-type:device_code', 'refresh_token'], id_token_signed_response_alg: 'ES256',
    }],
    jwks: { keys: [{ ...key, kid: randomUUID(), use: 'sig', alg: 'ES256' }] },
    ttl: { ClientCredentials: (_, token) => token.resourceServer.accessTokenTTL },
    features: {
      clientCredentials: { enabled: true },
      deviceFlow: { enabled: true },
      devInteractions: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_, resource) => ({
          scope: '', audience: resource.split('?')[0], accessTokenFormat: 'jwt', accessTokenTTL: Number(resource.split('?')[1]),
          jwt: { sign: { alg: 'ES256' } },
        }),
      },
    },
  });
}

// Sends each form that it is shown, as somebody would who agrees to all.
async function confirm(page) {
  const cookies = new Map();
  for (let step = 0; step < 20; step++) {
    const response = await fetch(page.url, {
      method: page.form ? 'POST' : 'GET', body: page.form, redirect: 'manual',
      headers: { cookie: [...cookies].map(([name, value]) => `${name}=${value}`).join('; ') },
    });
    for (const cookie of response.headers.getSetCookie()) {
      const [, name, value] = cookie.match(/^([^=]+)=([^;]*)/);
      cookies.set(name, value);
    }
    const next = response.headers.get('location');
    if (next) {
      page = { url: new URL(next, page.url) };
      continue;
    }
    const html = await response.text();
    const action = html.match(/<form[^>]*action="([^"]+)"/)?.[1];
    if (!action) return (html.match(/<h1>([^<]*)/)?.[1] ?? html).replaceAll(/\s+/g, ' ');
    const form = new URLSearchParams();
    for (const [input] of html.matchAll(/<input[^>]*>/g)) {
      const name = input.match(/name="([^"]+)"/)?.[1];
      if (name) form.set(name, input.match(/value="([^"]*)"/)?.[1] ?? 'ana');
    }
    page = { url: new URL(action, page.url), form };
  }
  return 'too many pages';
}

let current = provider();
server.on('request', (request, response) => current.callback()(request, response));
console.log(url);

for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'rotate') {
    current = provider();
    console.log('rotated');
    continue;
  }
  if (line.startsWith('confirm ')) {
    console.log(await confirm({ url: line.slice('confirm '.length) }));
    continue;
  }
  const [audience, ttl] = line.split(' ');
  const answer = await fetch(`${url}/token`, {
    method: 'POST',
    headers: { authorization: `Basic ${Buffer.from('trainer:secret').toString('base64')}` },
    body: new URLSearchParams({ grant_type: 'client_credentials', resource: `${audience}?${ttl}` }),
  });
  const { access_token: token, ...rest } = await answer.json();
  console.log(token ?? JSON.stringify(rest));
}
process.exit(0);
