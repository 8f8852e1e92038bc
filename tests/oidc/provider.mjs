// An issuer of OpenID Connect, which is certified: oidc-provider. Prints its URL, then a token for each line that it reads:
// "AUDIENCE TTL", in seconds. "rotate" gives it another key, which is in its JWKS alone from then on.
import { generateKeyPairSync, randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import Provider from 'oidc-provider';

const server = createServer();
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const url = `http://127.0.0.1:${server.address().port}`;

function provider() {
  const key = generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey.export({ format: 'jwk' });
  return new Provider(url, {
    clients: [{
      client_id: 'trainer', client_secret: 'secret', grant_types: ['client_credentials'], redirect_uris: [], response_types: [],
      id_token_signed_response_alg: 'ES256',
    }],
    jwks: { keys: [{ ...key, kid: randomUUID(), use: 'sig', alg: 'ES256' }] },
    ttl: { ClientCredentials: (_, token) => token.resourceServer.accessTokenTTL },
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
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

let current = provider();
server.on('request', (request, response) => current.callback()(request, response));
console.log(url);

for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'rotate') {
    current = provider();
    console.log('rotated');
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
