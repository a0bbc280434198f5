// oidc-provider on loopback, with rotation and reuse detection, an API that accepts its tokens, and a control interface
// for tests: POST /expire, /revoke, /stop, /start, /slow, /fast, /login, and GET /books for the counts of requests. The process exits
// when its standard input closes.
import { createServer } from 'node:http';
import { Provider } from 'oidc-provider';

const client = { client_id: 'app', client_secret: process.argv[2], token_endpoint_auth_method: 'client_secret_basic' };
const books = { sent: {}, answered: {} };
let live = new Set();
let grant;
// Milliseconds before a token is answered.
let delay = 0;

const port = await new Promise((found) => {
  const probe = createServer().listen(0, '127.0.0.1', () => {
    const { port } = probe.address();
    probe.close(() => found(port));
  });
});
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [{
    ...client,
    grant_types: ['authorization_code', 'refresh_token', 'client_credentials'],
    redirect_uris: ['http://127.0.0.1/callback'],
  }],
  scopes: ['offline_access', 'read'],
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: { enabled: false },
    revocation: { enabled: true },
  },
  rotateRefreshToken: true,
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
  ttl: { AccessToken: 600, ClientCredentials: 600, Grant: 3600, RefreshToken: 3600 },
});
provider.on('access_token.saved', (token) => live.add(token.jti));
provider.on('client_credentials.saved', (token) => live.add(token.jti));
provider.use(async (ctx, next) => {
  if (delay > 0 && ctx.path === '/token') await new Promise((done) => setTimeout(done, delay));
  await next();
  if (ctx.oidc?.route === 'token') {
    const sent = ctx.oidc.params?.refresh_token;
    if (sent) books.sent[sent] = (books.sent[sent] ?? 0) + 1;
    const answer = `${ctx.status} ${ctx.body?.error ?? ctx.oidc.params?.grant_type}`;
    books.answered[answer] = (books.answered[answer] ?? 0) + 1;
  }
});

const authorization = createServer(provider.callback());
const listen = () => new Promise((done) => authorization.listen(port, '127.0.0.1', done));
await listen();

const commands = {
  async login() {
    const known = await provider.Client.find('app');
    grant = new provider.Grant({ accountId: 'ada', clientId: 'app' });
    grant.addOIDCScope('offline_access');
    const grantId = await grant.save();
    const token = new provider.RefreshToken({
      accountId: 'ada', client: known, grantId, gty: 'authorization_code', scope: 'offline_access', rotations: 0,
    });
    return await token.save();
  },
  async expire() {
    live = new Set();
    return '';
  },
  async revoke() {
    live = new Set();
    await grant.destroy();
    return '';
  },
  async stop() {
    const closed = new Promise((done) => authorization.close(done));
    authorization.closeIdleConnections();
    await closed;
    return '';
  },
  async start() {
    await listen();
    return '';
  },
  async slow() {
    delay = 700;
    return '';
  },
  async fast() {
    delay = 0;
    return '';
  },
  async books() {
    const used = Object.values(books.sent);
    const lines = [`refreshes ${used.length}`, `most ${Math.max(0, ...used)}`];
    return [...lines, ...Object.entries(books.answered).map(([what, times]) => `${what} ${times}`)].join('\n');
  },
};

const beside = createServer(async (request, response) => {
  const path = request.url.slice(1);
  if (path === 'api') {
    const token = request.headers.authorization?.replace(/^Bearer /, '');
    response.statusCode = live.has(token) ? 200 : 401;
    response.end();
    return;
  }
  try {
    response.end(await commands[path]());
  } catch (error) {
    response.statusCode = 500;
    response.end(String(error.stack));
  }
});
beside.listen(0, '127.0.0.1', () => console.log(`listening ${port} ${beside.address().port}`));
process.stdin.on('end', () => process.exit(0)).resume();
